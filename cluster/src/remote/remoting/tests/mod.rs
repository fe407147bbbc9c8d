//! Nodes that talk to each other, over a network in memory and over real sockets.

mod conversation;
mod ends;
mod hostile;
mod nodes;
mod strangers;
mod threads;
mod throughput;
