# While streams of one to another stand still the third ends and begins again. Then connections break, one stands still,
# and one loses its power, of which nobody is told.
seed 2
nodes 3
trouble 60000 ms
delay 5 to 20 ms
    2000 ms  streams n0 -> n1 stand still
    6000 ms  kill n2
   12000 ms  start n2
   20000 ms  streams n0 -> n1 go on
   25000 ms  connections n0 - n1 break
   28000 ms  n1 stands still for 3000 ms
   33000 ms  power off n2
   55000 ms  start n2
