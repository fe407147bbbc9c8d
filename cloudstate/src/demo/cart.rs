//! The shopping cart itself: what may happen to it and what then has happened. Pure; knows nothing of the protocol.

use proto::model::example::shoppingcart::persistence::{self as events, ItemAdded, ItemRemoved};
use proto::model::example::shoppingcart::{self as api, AddLineItem, RemoveLineItem};

/// The items of one user, in the order in which they were first added.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cart {
    items: Vec<events::LineItem>, // at most one an id
}

/// Something that happened to a cart: what is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum CartEvent {
    /// So many more of an item are in the cart.
    ItemAdded(ItemAdded),
    /// All of an item have left the cart.
    ItemRemoved(ItemRemoved),
}

impl Cart {
    /// Decides on a wish to add items.
    ///
    /// # Errors
    /// A text for the caller; nothing happens then.
    pub fn add(&self, wish: &AddLineItem) -> Result<CartEvent, String> {
        if wish.product_id.is_empty() {
            return Err("product_id must not be empty".to_owned());
        }
        if wish.quantity <= 0 {
            return Err(format!("quantity must be greater than 0, but is {}", wish.quantity));
        }
        let present = self.find(&wish.product_id).map_or(0, |item| item.quantity);
        if present.checked_add(wish.quantity).is_none() {
            return Err(format!("quantity must be at most {}: {present} are in the cart", i32::MAX - present));
        }
        let item =
            events::LineItem { product_id: wish.product_id.clone(), name: wish.name.clone(), quantity: wish.quantity };
        Ok(CartEvent::ItemAdded(ItemAdded { item: Some(item) }))
    }

    /// Decides on a wish to remove an item.
    ///
    /// # Errors
    /// A text for the caller; nothing happens then.
    pub fn remove(&self, wish: &RemoveLineItem) -> Result<CartEvent, String> {
        match self.find(&wish.product_id) {
            Some(item) => Ok(CartEvent::ItemRemoved(ItemRemoved { product_id: item.product_id.clone() })),
            None => Err(format!("product {} is not in the cart", wish.product_id)),
        }
    }

    /// Takes in what has happened. The same events in the same order always give the same cart.
    pub fn apply(&mut self, event: CartEvent) {
        match event {
            CartEvent::ItemAdded(ItemAdded { item: Some(added) }) => match self.find_mut(&added.product_id) {
                Some(item) => item.quantity = item.quantity.saturating_add(added.quantity),
                None => self.items.push(added),
            },
            CartEvent::ItemAdded(ItemAdded { item: None }) => {}
            CartEvent::ItemRemoved(removed) => self.items.retain(|item| item.product_id != removed.product_id),
        }
    }

    /// The cart as callers see it.
    #[must_use]
    pub fn view(&self) -> api::Cart {
        let item = |item: &events::LineItem| api::LineItem {
            product_id: item.product_id.clone(),
            name: item.name.clone(),
            quantity: item.quantity,
        };
        api::Cart { items: self.items.iter().map(item).collect() }
    }

    /// The cart as it is stored.
    #[must_use]
    pub fn snapshot(&self) -> events::Cart {
        events::Cart { items: self.items.clone() }
    }

    fn find(&self, product_id: &str) -> Option<&events::LineItem> {
        self.items.iter().find(|item| item.product_id == product_id)
    }

    fn find_mut(&mut self, product_id: &str) -> Option<&mut events::LineItem> {
        self.items.iter_mut().find(|item| item.product_id == product_id)
    }
}

impl From<events::Cart> for Cart {
    fn from(snapshot: events::Cart) -> Self {
        Self { items: snapshot.items }
    }
}
