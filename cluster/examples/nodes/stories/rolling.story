# All leave in good order and come back, one after the other.
seed 3
nodes 3
trouble 60000 ms
delay 1 to 10 ms
loss 10 of 1000
    3000 ms  n0 leaves
   13000 ms  start n0
   22000 ms  n1 leaves
   32000 ms  start n1
   41000 ms  n2 leaves
   51000 ms  start n2
