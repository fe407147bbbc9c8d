//! A shopping cart as a user function: the service of `cloudstate demo`, and an example of what one has to do.
//!
//! [`cart`](Cart) decides and remembers, [`Session`] speaks the protocol for one cart, [`serve`] is the gRPC server around them.

mod cart;
mod instructions;
mod service;
mod session;

pub use cart::{Cart, CartEvent};
pub use instructions::instructions;
pub use service::serve;
pub use session::{SNAPSHOT_EVERY, Session, Step};

/// The service this user function serves.
pub const SERVICE: &str = "com.example.shoppingcart.ShoppingCart";

/// Under which its entities are stored.
pub const PERSISTENCE_ID: &str = "shopping-cart";

/// Bytes of the largest message taken from the sidecar.
const MESSAGE_SIZE_MAX: usize = 12 << 20;
