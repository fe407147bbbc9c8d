//! Reliable delivery over a wire that loses, doubles, delays and reorders.

mod chunks;
mod crash;
mod order;
mod site;
mod wire;
mod work_pulling;
