"use strict";

// One user's cart: command handlers check and emit, event handlers build the state. The SDK hands both the state as a
// message and stores what they return.
const { EventSourced } = require("cloudstate");

const cart = new EventSourced(["shoppingcart.proto", "persistence/domain.proto"], "com.example.shoppingcart.ShoppingCart", {
  persistenceId: "shopping-cart",
  snapshotEvery: 5,
  includeDirs: ["proto"],
});

const domain = "com.example.shoppingcart.persistence.";
const ItemAdded = cart.lookupType(domain + "ItemAdded");
const ItemRemoved = cart.lookupType(domain + "ItemRemoved");
const Cart = cart.lookupType(domain + "Cart");

cart.setInitial(() => Cart.create({ items: [] }));

cart.setBehavior(() => ({
  commandHandlers: { AddItem: addItem, RemoveItem: removeItem, GetCart: getCart },
  eventHandlers: { ItemAdded: itemAdded, ItemRemoved: itemRemoved },
}));

function getCart(_request, state) {
  return state;
}

function addItem(request, _state, context) {
  if (request.quantity <= 0) {
    context.fail(`quantity must be greater than 0, but is ${request.quantity}`);
    return;
  }
  const { productId, name, quantity } = request;
  context.emit(ItemAdded.create({ item: { productId, name, quantity } }));
  return {};
}

function removeItem(request, state, context) {
  if (!state.items.some((item) => item.productId === request.productId)) {
    context.fail(`product ${request.productId} is not in the cart of ${request.userId}`);
    return;
  }
  context.emit(ItemRemoved.create({ productId: request.productId }));
  return {};
}

function itemAdded({ item }, state) {
  const existing = state.items.find((other) => other.productId === item.productId);
  if (existing) {
    existing.quantity += item.quantity;
  } else {
    state.items.push(item);
  }
  return state;
}

function itemRemoved({ productId }, state) {
  state.items = state.items.filter((item) => item.productId !== productId);
  return state;
}

module.exports = cart;
