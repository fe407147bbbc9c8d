//! A plain unary gRPC server with the carts in a map: what a service without durable state costs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use tonic::{Request, Response, Status};

use crate::cart::shopping_cart_server::{ShoppingCart, ShoppingCartServer};
use crate::cart::{AddLineItem, Cart, GetShoppingCart, LineItem, RemoveLineItem};

/// Serves the carts at `address` until the process ends.
pub async fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let carts = ShoppingCartServer::new(Carts::default());
    tonic::transport::Server::builder().tcp_nodelay(true).add_service(carts).serve(address).await?;
    Ok(())
}

#[derive(Default)]
struct Carts(Mutex<HashMap<String, HashMap<String, LineItem>>>);

#[tonic::async_trait]
impl ShoppingCart for Carts {
    async fn add_item(&self, request: Request<AddLineItem>) -> Result<Response<()>, Status> {
        let AddLineItem { user_id, product_id, name, quantity } = request.into_inner();
        let mut carts = self.0.lock().expect("no holder panics");
        let none = LineItem { product_id: product_id.clone(), name, quantity: 0 };
        carts.entry(user_id).or_default().entry(product_id).or_insert(none).quantity += quantity;
        Ok(Response::new(()))
    }

    async fn remove_item(&self, _: Request<RemoveLineItem>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("the load only adds"))
    }

    async fn get_cart(&self, request: Request<GetShoppingCart>) -> Result<Response<Cart>, Status> {
        let carts = self.0.lock().expect("no holder panics");
        let items = carts.get(&request.into_inner().user_id).map(|cart| cart.values().cloned().collect());
        Ok(Response::new(Cart { items: items.unwrap_or_default() }))
    }
}
