// The program under test for delve: a function to stop in and lines to step over.
package main

import "fmt"

func double(n int) int {
	result := n * 2 // BREAK: step
	result += 1
	result += 1
	result += 1
	result += 1
	result += 1
	result += 1
	result += 1
	result -= 7
	return result
}

func main() {
	fmt.Printf("answer=%d\n", double(21))
}
