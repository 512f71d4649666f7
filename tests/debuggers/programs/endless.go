// A program that runs until it is ended, for debuggers that attach to what runs.
package main

import (
	"fmt"
	"time"
)

func main() {
	fmt.Println("running")
	for n := 1; ; n++ {
		time.Sleep(50 * time.Millisecond)
		if n%20 == 0 {
			fmt.Println(n)
		}
	}
}
