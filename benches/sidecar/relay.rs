//! The least a sidecar can do: gRPC in, one stream per cart to the user function, the event in a synced log before the reply.
//!
//! It has no recovery, no passivation, no snapshots, no routing, no metadata, no limits: a bound for the sidecar, not a design.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;

use benches::{BareLog, Durability};
use bytes::Bytes;
use prost::Message;
use proto::Any;
use proto::cloudstate::eventsourced::event_sourced_client::EventSourcedClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::cart::shopping_cart_server::{ShoppingCart, ShoppingCartServer};
use crate::cart::{self, AddLineItem, Cart, GetShoppingCart, RemoveLineItem};
use crate::entity_stream::{EntityStream, answer};

/// Commands that may wait for one cart: more than there are clients.
const WAITING_MAX: usize = 1_024;

#[derive(clap::Args)]
pub struct RelayArgs {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    function: SocketAddr,
    /// Where the number of syncs can be read.
    #[arg(long)]
    metrics: SocketAddr,
    /// The log; without it nothing is stored.
    #[arg(long)]
    log: Option<PathBuf>,
}

/// Relays until the process ends.
pub async fn serve(args: RelayArgs) -> anyhow::Result<()> {
    let endpoint = Endpoint::from_shared(format!("http://{}", args.function))?.tcp_nodelay(true);
    let log = args.log.map(|path| BareLog::open(&path, Durability::Synced)).transpose()?;
    let relay = Relay {
        function: EventSourcedClient::new(endpoint.connect().await?),
        log: log.clone(),
        carts: Mutex::default(),
    };
    tokio::spawn(serve_metrics(TcpListener::bind(args.metrics).await?, log));
    let server = tonic::transport::Server::builder().tcp_nodelay(true);
    { server }.add_service(ShoppingCartServer::new(relay)).serve(args.address).await?;
    Ok(())
}

struct Relay {
    function: EventSourcedClient<Channel>,
    log: Option<BareLog>,
    carts: Mutex<HashMap<String, mpsc::Sender<Job>>>,
}

struct Job {
    name: &'static str,
    payload: Any,
    done: oneshot::Sender<Result<Bytes, Status>>,
}

impl Relay {
    async fn call(&self, cart_id: String, (name, payload): (&'static str, Any)) -> Result<Bytes, Status> {
        let gone = |_| Status::unavailable("the cart's task has ended");
        let (done, answer) = oneshot::channel();
        let cart = self.cart(cart_id);
        cart.send(Job { name, payload, done }).await.map_err(|_| Status::unavailable("the cart's task has ended"))?;
        answer.await.map_err(gone)?
    }

    fn cart(&self, cart_id: String) -> mpsc::Sender<Job> {
        let mut carts = self.carts.lock().expect("no holder panics");
        if let Some(cart) = carts.get(&cart_id) {
            return cart.clone();
        }
        let (jobs, inbox) = mpsc::channel(WAITING_MAX);
        carts.insert(cart_id.clone(), jobs.clone());
        tokio::spawn(run_cart(self.function.clone(), self.log.clone(), cart_id, inbox));
        jobs
    }
}

async fn run_cart(
    function: EventSourcedClient<Channel>,
    log: Option<BareLog>,
    cart_id: String,
    mut jobs: mpsc::Receiver<Job>,
) {
    let mut stream = match EntityStream::open(function, cart_id.clone()).await {
        Ok(stream) => stream,
        Err(refused) => {
            eprintln!("no stream for {cart_id}: {refused}");
            return;
        }
    };
    while let Some(Job { name, payload, done }) = jobs.recv().await {
        let outcome = command(&mut stream, log.as_ref(), &cart_id, name, payload).await;
        let failed = outcome.is_err();
        let _ = done.send(outcome); // a caller that went away has lost interest, the event is stored
        if failed {
            return;
        }
    }
}

async fn command(
    stream: &mut EntityStream,
    log: Option<&BareLog>,
    cart_id: &str,
    name: &str,
    payload: Any,
) -> Result<Bytes, Status> {
    let reply = stream.command(name, payload).await?;
    if let (Some(log), false) = (log, reply.events.is_empty()) {
        let mut record = cart_id.as_bytes().to_vec();
        for event in &reply.events {
            event.encode_length_delimited(&mut record).expect("a vector grows");
        }
        log.append(record).await.map_err(|error| Status::internal(error.to_string()))?;
    }
    Ok(answer(reply).unwrap_or_default().value)
}

#[tonic::async_trait]
impl ShoppingCart for Relay {
    async fn add_item(&self, request: Request<AddLineItem>) -> Result<Response<()>, Status> {
        let add = request.into_inner();
        let command = cart::add_command(&add);
        self.call(add.user_id, command).await.map(|_| Response::new(()))
    }

    async fn remove_item(&self, _: Request<RemoveLineItem>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("the load only adds"))
    }

    async fn get_cart(&self, request: Request<GetShoppingCart>) -> Result<Response<Cart>, Status> {
        let read = request.into_inner();
        let command = cart::read_command(&read);
        let cart = Cart::decode(self.call(read.user_id, command).await?);
        cart.map(Response::new).map_err(|error| Status::internal(error.to_string()))
    }
}

/// Answers every connection with the counters, in the format the sidecar's own metrics have.
async fn serve_metrics(listener: TcpListener, log: Option<BareLog>) {
    while let Ok((mut connection, _)) = listener.accept().await {
        let mut request = [0; 1_024]; // a connection closed with something unread is reset
        let _ = connection.read(&mut request).await;
        let syncs = log.as_ref().map_or(0, BareLog::syncs);
        let page = format!("HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nrelay_log_syncs_total {syncs}\n");
        // Whoever asked and went away did not want to know.
        let _ = connection.write_all(page.as_bytes()).await;
    }
}
