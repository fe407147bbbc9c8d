//! Reliable delivery over a wire that loses, doubles, delays and reorders.

mod crash;
mod order;
mod site;
mod wire;
