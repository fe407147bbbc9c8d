# In bad weather one of three is cut off, the others go on without it, and it comes back. Then packets get lost one way,
# for less time than it takes to give anybody up.
seed 1
nodes 3
trouble 55000 ms
delay 50 to 60 ms
loss 50 of 1000
duplicates 10 of 1000
    5000 ms  split [0, 1, 1]
   35000 ms  heal all
   45000 ms  cut n1 -> n2
   49000 ms  heal n1 -> n2
