# The program under test for rdbg: a method to stop in and lines to step over.

def double(n)
  result = n * 2 # BREAK: step
  result += 1
  result += 1
  result += 1
  result += 1
  result += 1
  result += 1
  result += 1
  result -= 7
  result
end

puts "answer=#{double(21)}"
