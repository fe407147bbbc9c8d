//! A client of the sample cart that speaks gRPC and HTTP/JSON to the same sidecar.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use proto::model::example::shoppingcart::shopping_cart_client::ShoppingCartClient;
use proto::model::example::shoppingcart::{AddLineItem, GetShoppingCart, RemoveLineItem};
use tonic::transport::{Channel, Endpoint};

/// Longest wait for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Quantity by product id.
pub(crate) type Items = BTreeMap<String, i32>;

/// Talks to the sidecar on one port of the loopback address.
pub(crate) struct CartClient {
    port: u16,
    grpc: ShoppingCartClient<Channel>,
    http: Client<HttpConnector, Full<Bytes>>,
    /// The `idempotency-key` of further commands.
    pub(crate) key: Option<String>,
}

impl CartClient {
    pub(crate) fn new(port: u16) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("a valid address");
        let grpc = ShoppingCartClient::new(endpoint.timeout(ANSWER_WITHIN).connect_lazy());
        Self { port, grpc, http: Client::builder(TokioExecutor::new()).build_http(), key: None }
    }

    pub(crate) async fn add(&mut self, cart: &str, product: &str, quantity: i32, by_http: bool) -> Result<(), String> {
        if by_http {
            let body =
                serde_json::json!({ "productId": product, "name": format!("name of {product}"), "quantity": quantity });
            return self.call(Method::POST, &format!("/cart/{cart}/items/add"), body.to_string()).await.map(drop);
        }
        let request = AddLineItem {
            user_id: cart.to_owned(),
            product_id: product.to_owned(),
            name: format!("name of {product}"),
            quantity,
        };
        let mut request = tonic::Request::new(request);
        if let Some(key) = &self.key {
            request.metadata_mut().insert("idempotency-key", key.parse().expect("a key"));
        }
        self.grpc.add_item(request).await.map(drop).map_err(|status| status.to_string())
    }

    pub(crate) async fn remove(&mut self, cart: &str, product: &str, by_http: bool) -> Result<(), String> {
        if by_http {
            return self
                .call(Method::POST, &format!("/cart/{cart}/items/{product}/remove"), String::new())
                .await
                .map(drop);
        }
        let request = RemoveLineItem { user_id: cart.to_owned(), product_id: product.to_owned() };
        self.grpc.remove_item(request).await.map(drop).map_err(|status| status.to_string())
    }

    pub(crate) async fn get(&mut self, cart: &str, by_http: bool) -> Result<Items, String> {
        if by_http {
            let body = self.call(Method::GET, &format!("/carts/{cart}"), String::new()).await?;
            let cart: serde_json::Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
            let items = cart["items"].as_array().ok_or("no items")?;
            let item = |item: &serde_json::Value| {
                Some((item["productId"].as_str()?.to_owned(), i32::try_from(item["quantity"].as_i64()?).ok()?))
            };
            return items.iter().map(|line| item(line).ok_or_else(|| format!("no line item: {line}"))).collect();
        }
        let request = GetShoppingCart { user_id: cart.to_owned() };
        let cart = self.grpc.get_cart(request).await.map_err(|status| status.to_string())?.into_inner();
        Ok(cart.items.into_iter().map(|item| (item.product_id, item.quantity)).collect())
    }

    /// Asks until there is an answer: the processes behind it may be starting.
    pub(crate) async fn until_answered(&mut self, cart: &str, by_http: bool) -> Items {
        let mut last = String::new();
        for _ in 0..500 {
            match self.get(cart, by_http).await {
                Ok(items) => return items,
                Err(error) => last = error,
            }
            self.reconnect().await;
        }
        panic!("{cart} is not answered: {last}");
    }

    /// Waits until something listens on the port again.
    pub(crate) async fn reconnect(&self) {
        for _ in 0..2_000 {
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nothing listens on port {} any more", self.port);
    }

    async fn call(&self, method: Method, path: &str, body: String) -> Result<Bytes, String> {
        let mut request = Request::builder();
        if let Some(key) = &self.key {
            request = request.header("idempotency-key", key);
        }
        let request = request
            .method(method)
            .uri(format!("http://127.0.0.1:{}{path}", self.port))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let exchange = async {
            let response = self.http.request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
            match status {
                StatusCode::OK => Ok(body),
                other => Err(format!("{other}: {}", String::from_utf8_lossy(&body))),
            }
        };
        tokio::time::timeout(ANSWER_WITHIN, exchange).await.map_err(|_| "no answer".to_owned())?
    }
}
