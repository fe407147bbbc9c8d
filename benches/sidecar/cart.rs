//! The shopping cart every contestant serves, and what calling it means.

use bytes::Bytes;
use prost::Message;
use proto::Any;

pub use proto::model::example::shoppingcart::persistence::{ItemAdded, LineItem as StoredItem};
pub use proto::model::example::shoppingcart::{
    AddLineItem, Cart, GetShoppingCart, LineItem, RemoveLineItem, shopping_cart_client::ShoppingCartClient,
    shopping_cart_server,
};

pub const SERVICE: &str = "com.example.shoppingcart.ShoppingCart";
pub const ADD_ITEM: &str = "AddItem";
pub const GET_CART: &str = "GetCart";

/// The command all load consists of: one more of the same product.
pub fn add_one(cart_id: &str) -> AddLineItem {
    AddLineItem { user_id: cart_id.to_owned(), product_id: "p1".to_owned(), name: "thing".to_owned(), quantity: 1 }
}

/// The command that reads a cart back.
pub fn read(cart_id: &str) -> GetShoppingCart {
    GetShoppingCart { user_id: cart_id.to_owned() }
}

/// Pieces in the cart: how often `add_one` took effect.
pub fn pieces(cart: &Cart) -> u64 {
    cart.items.iter().map(|item| u64::try_from(item.quantity).unwrap_or(0)).sum()
}

/// Packs `message` as the protocol carries it. `name` is the message's full name.
pub fn packed(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: Bytes::from(message.encode_to_vec()) }
}

/// Name and payload of the command [`add_one`] as the entity stream carries it.
pub fn add_command(message: &AddLineItem) -> (&'static str, Any) {
    (ADD_ITEM, packed("com.example.shoppingcart.AddLineItem", message))
}

/// Name and payload of the command [`read`] as the entity stream carries it.
pub fn read_command(message: &GetShoppingCart) -> (&'static str, Any) {
    (GET_CART, packed("com.example.shoppingcart.GetShoppingCart", message))
}
