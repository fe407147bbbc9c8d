//! A user function that the test plays by hand, and a sidecar in this process in front of it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cloudstate::admin::Health;
use cloudstate::config::ProxyConfig;
use cloudstate::proxy::Proxy;
use cloudstate::store::Store;
use parking_lot::Mutex;
use prost::Message;
use proto::Any;
use proto::cloudstate::action::action_protocol_server::ActionProtocolServer;
use proto::cloudstate::crdt::crdt_server::{Crdt, CrdtServer};
use proto::cloudstate::crdt::{CrdtDelta, CrdtInit, CrdtStreamIn, CrdtStreamOut, crdt_stream_in, crdt_stream_out};
use proto::cloudstate::entity_discovery_server::{EntityDiscovery, EntityDiscoveryServer};
use proto::cloudstate::entity_passivation_strategy::Strategy;
use proto::cloudstate::eventsourced::event_sourced_server::{EventSourced, EventSourcedServer};
use proto::cloudstate::eventsourced::{
    EventSourcedEvent, EventSourcedInit, EventSourcedReply, EventSourcedStreamIn, EventSourcedStreamOut,
    event_sourced_stream_in, event_sourced_stream_out,
};
use proto::cloudstate::valueentity::value_entity_server::{ValueEntity, ValueEntityServer};
use proto::cloudstate::valueentity::{
    ValueEntityAction, ValueEntityDelete, ValueEntityInit, ValueEntityReply, ValueEntityStreamIn, ValueEntityStreamOut,
    ValueEntityUpdate, value_entity_action, value_entity_stream_in, value_entity_stream_out,
};
use proto::cloudstate::{
    ClientAction, Command, Entity, EntityPassivationStrategy, EntitySpec, Failure, ProxyInfo, Reply, ServiceInfo,
    TimeoutPassivationStrategy, UserFunctionError, client_action,
};
use proto::model::tck;
use proto::model::tck::event_sourced_tck_model_client::EventSourcedTckModelClient;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tower::util::MapRequestLayer;

use crate::scripted_action::{ScriptedAction, ScriptedCall, StrictBody};

/// Longest wait for anything that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Fails the test when `wait` takes too long.
pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// The specification of event-sourced model services: (service, persistence id, passivation timeout).
pub(crate) fn spec(services: &[(&str, &str, Option<Duration>)]) -> EntitySpec {
    let entity = |(service, id, timeout): &(&str, &str, Option<Duration>)| Entity {
        entity_type: "cloudstate.eventsourced.EventSourced".to_owned(),
        service_name: format!("cloudstate.tck.model.{service}"),
        persistence_id: (*id).to_owned(),
        passivation_strategy: timeout.map(|timeout| EntityPassivationStrategy {
            strategy: Some(Strategy::Timeout(TimeoutPassivationStrategy {
                timeout: i64::try_from(timeout.as_millis()).expect("short"),
            })),
        }),
    };
    EntitySpec {
        proto: Bytes::from_static(proto::model::FILE_DESCRIPTOR_SET),
        entities: services.iter().map(entity).collect(),
        service_info: Some(ServiceInfo { protocol_minor_version: 2, ..ServiceInfo::default() }),
    }
}

pub(crate) fn model_spec() -> EntitySpec {
    spec(&[("EventSourcedTckModel", "model", None), ("EventSourcedTwo", "two", None)])
}

/// A user function whose streams are played by the test.
pub(crate) struct ScriptedFunction {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    streams: mpsc::UnboundedReceiver<ScriptedStream>,
    values: mpsc::UnboundedReceiver<ScriptedValue>,
    crdts: mpsc::UnboundedReceiver<ScriptedCrdt>,
    calls: mpsc::UnboundedReceiver<ScriptedCall>,
    reports: mpsc::UnboundedReceiver<String>,
    /// Of its own, so that ending it ends every connection, as when a process dies.
    runtime: Option<Runtime>,
}

pub(crate) struct Shared {
    spec: Mutex<EntitySpec>,
    discovered: AtomicUsize,
    info: Mutex<Option<ProxyInfo>>,
    streams: mpsc::UnboundedSender<ScriptedStream>,
    values: mpsc::UnboundedSender<ScriptedValue>,
    crdts: mpsc::UnboundedSender<ScriptedCrdt>,
    calls: mpsc::UnboundedSender<ScriptedCall>,
    reports: mpsc::UnboundedSender<String>,
}

impl ScriptedFunction {
    pub(crate) async fn start(spec: EntitySpec) -> Self {
        Self::start_on(0, spec, None).await
    }

    /// On a given port, serving at most so many streams on one connection.
    pub(crate) async fn start_on(port: u16, spec: EntitySpec, streams_max: Option<u32>) -> Self {
        let (streams_in, streams) = mpsc::unbounded_channel();
        let (values_in, values) = mpsc::unbounded_channel();
        let (crdts_in, crdts) = mpsc::unbounded_channel();
        let (calls_in, calls) = mpsc::unbounded_channel();
        let (reports_in, reports) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            spec: Mutex::new(spec),
            discovered: AtomicUsize::new(0),
            info: Mutex::new(None),
            streams: streams_in,
            values: values_in,
            crdts: crdts_in,
            calls: calls_in,
            reports: reports_in,
        });
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let discovery = EntityDiscoveryServer::from_arc(shared.clone());
        let event_sourced = EventSourcedServer::from_arc(shared.clone()).max_encoding_message_size(64 << 20);
        let value = ValueEntityServer::from_arc(shared.clone());
        let crdt = CrdtServer::from_arc(shared.clone());
        let action = ActionProtocolServer::from_arc(shared.clone());
        let serving = async move {
            let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            // Wide enough that a stream nobody reads fills its own window and not its connection's.
            let mut server = Server::builder()
                .max_concurrent_streams(streams_max)
                .initial_stream_window_size(65_535)
                .initial_connection_window_size(16 << 20)
                .layer(MapRequestLayer::new(strict));
            let server = server.add_service(discovery).add_service(event_sourced).add_service(value);
            let server = server.add_service(action).add_service(crdt);
            (port, server.serve_with_incoming(TcpListenerStream::new(listener)))
        };
        let (port, server) = runtime.spawn(serving).await.expect("listening");
        runtime.spawn(server);
        Self { port, shared, streams, values, crdts, calls, reports, runtime: Some(runtime) }
    }

    pub(crate) fn discovered(&self) -> usize {
        self.shared.discovered.load(Ordering::SeqCst)
    }

    pub(crate) fn proxy_info(&self) -> Option<ProxyInfo> {
        self.shared.info.lock().clone()
    }

    pub(crate) fn serve(&self, spec: EntitySpec) {
        *self.shared.spec.lock() = spec;
    }

    /// The next stream that the sidecar opens.
    pub(crate) async fn stream(&mut self) -> ScriptedStream {
        soon("a new stream", self.streams.recv()).await.expect("the function runs")
    }

    /// The next stream that the sidecar opens, however late; for a function that is played beside the test.
    pub(crate) async fn any_stream(&mut self) -> ScriptedStream {
        self.streams.recv().await.expect("the function runs")
    }

    /// The next stream that the sidecar opens for a value entity.
    pub(crate) async fn value(&mut self) -> ScriptedValue {
        soon("a new stream", self.values.recv()).await.expect("the function runs")
    }

    /// The next stream that the sidecar opens for a CRDT entity.
    pub(crate) async fn crdt(&mut self) -> ScriptedCrdt {
        soon("a new stream", self.crdts.recv()).await.expect("the function runs")
    }

    pub(crate) fn has_no_crdt(&mut self) -> bool {
        self.crdts.is_empty()
    }

    /// The next command for an action.
    pub(crate) async fn action(&mut self) -> ScriptedAction {
        let mut call = self.call().await;
        ScriptedAction { command: call.command().await, call }
    }

    pub(crate) fn has_no_action(&mut self) -> bool {
        self.calls.is_empty()
    }

    /// The next action call.
    pub(crate) async fn call(&mut self) -> ScriptedCall {
        soon("an action call", self.calls.recv()).await.expect("the function runs")
    }

    /// The next mistake that the sidecar reports.
    pub(crate) async fn report(&mut self) -> String {
        soon("a report", self.reports.recv()).await.expect("the function runs")
    }

    pub(crate) fn has_no_stream(&mut self) -> bool {
        self.streams.try_recv().is_err()
    }

    pub(crate) fn has_no_report(&mut self) -> bool {
        self.reports.try_recv().is_err()
    }
}

impl Drop for ScriptedFunction {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Returns when its sockets are closed, so that the port is free; not allowed on a runtime's own thread.
            let ended = std::thread::spawn(move || runtime.shutdown_timeout(SOON)).join();
            ended.expect("the function ends");
        }
    }
}

#[tonic::async_trait]
impl EntityDiscovery for Shared {
    async fn discover(&self, request: Request<ProxyInfo>) -> Result<Response<EntitySpec>, Status> {
        self.discovered.fetch_add(1, Ordering::SeqCst);
        *self.info.lock() = Some(request.into_inner());
        Ok(Response::new(self.spec.lock().clone()))
    }

    async fn report_error(&self, request: Request<UserFunctionError>) -> Result<Response<()>, Status> {
        let _ = self.reports.send(request.into_inner().message);
        Ok(Response::new(()))
    }
}

impl Shared {
    pub(crate) fn called(&self, call: ScriptedCall) {
        let _ = self.calls.send(call);
    }
}

fn strict(request: http::Request<Body>) -> http::Request<Body> {
    request.map(|body| Body::new(StrictBody(body)))
}

#[tonic::async_trait]
impl EventSourced for Shared {
    type handleStream = ReceiverStream<Result<EventSourcedStreamOut, Status>>;

    async fn handle(
        &self,
        request: Request<Streaming<EventSourcedStreamIn>>,
    ) -> Result<Response<Self::handleStream>, Status> {
        let (outbound, receiver) = mpsc::channel(16);
        let stream = ScriptedStream { inbound: request.into_inner(), outbound: Some(outbound), held: VecDeque::new() };
        let _ = self.streams.send(stream);
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl Crdt for Shared {
    type handleStream = ReceiverStream<Result<CrdtStreamOut, Status>>;

    async fn handle(&self, request: Request<Streaming<CrdtStreamIn>>) -> Result<Response<Self::handleStream>, Status> {
        let (outbound, receiver) = mpsc::channel(16);
        let _ = self.crdts.send(ScriptedCrdt { inbound: request.into_inner(), outbound: Some(outbound) });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// The stream of one CRDT entity, the test being the function.
pub(crate) struct ScriptedCrdt {
    inbound: Streaming<CrdtStreamIn>,
    outbound: Option<mpsc::Sender<Result<CrdtStreamOut, Status>>>,
}

impl ScriptedCrdt {
    /// The next message; `None` when the sidecar has half-closed.
    pub(crate) async fn next(&mut self) -> Option<crdt_stream_in::Message> {
        let message = soon("a message", self.inbound.message()).await.expect("half-closed, not reset")?;
        Some(message.message.expect("not empty"))
    }

    pub(crate) async fn init(&mut self) -> CrdtInit {
        match self.next().await {
            Some(crdt_stream_in::Message::Init(init)) => init,
            other => panic!("expected init, got {other:?}"),
        }
    }

    pub(crate) async fn command(&mut self) -> Command {
        match self.next().await {
            Some(crdt_stream_in::Message::Command(command)) => command,
            other => panic!("expected a command, got {other:?}"),
        }
    }

    pub(crate) async fn delta(&mut self) -> CrdtDelta {
        match self.next().await {
            Some(crdt_stream_in::Message::Delta(delta)) => delta,
            other => panic!("expected a delta, got {other:?}"),
        }
    }

    /// The id of the streamed command that is cancelled.
    pub(crate) async fn cancelled(&mut self) -> i64 {
        match self.next().await {
            Some(crdt_stream_in::Message::StreamCancelled(cancelled)) => cancelled.id,
            other => panic!("expected a cancellation, got {other:?}"),
        }
    }

    pub(crate) async fn send(&self, message: crdt_stream_out::Message) {
        let outbound = self.outbound.as_ref().expect("not ended");
        outbound.send(Ok(CrdtStreamOut { message: Some(message) })).await.expect("the sidecar reads");
    }

    /// Ends the function's side.
    pub(crate) fn end(&mut self) {
        self.outbound = None;
    }

    /// Waits until the sidecar has half-closed, and ends the function's side then.
    pub(crate) async fn closed(mut self) {
        assert_eq!(self.next().await, None);
    }

    /// Waits until the sidecar has reset the stream.
    pub(crate) async fn reset(&mut self) {
        soon("the reset", self.outbound.as_ref().expect("not ended").closed()).await;
    }
}

#[tonic::async_trait]
impl ValueEntity for Shared {
    type handleStream = ReceiverStream<Result<ValueEntityStreamOut, Status>>;

    async fn handle(
        &self,
        request: Request<Streaming<ValueEntityStreamIn>>,
    ) -> Result<Response<Self::handleStream>, Status> {
        let (outbound, receiver) = mpsc::channel(16);
        let _ = self.values.send(ScriptedValue { inbound: request.into_inner(), outbound: Some(outbound) });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// One stream of a value entity, the test being the function.
pub(crate) struct ScriptedValue {
    inbound: Streaming<ValueEntityStreamIn>,
    outbound: Option<mpsc::Sender<Result<ValueEntityStreamOut, Status>>>,
}

impl ScriptedValue {
    async fn next(&mut self) -> Option<value_entity_stream_in::Message> {
        let next = soon("a message", self.inbound.message()).await.expect("no error");
        Some(next?.message.expect("not empty"))
    }

    pub(crate) async fn init(&mut self) -> ValueEntityInit {
        match self.next().await {
            Some(value_entity_stream_in::Message::Init(init)) => init,
            other => panic!("expected init, got {other:?}"),
        }
    }

    /// Init, whose value is the text `state`.
    pub(crate) async fn init_with(&mut self, state: Option<&str>) {
        let value = self.init().await.state.expect("always present").value;
        assert_eq!(value.map(|value| text(Some(value))).as_deref(), state);
    }

    pub(crate) async fn command(&mut self) -> Command {
        match self.next().await {
            Some(value_entity_stream_in::Message::Command(command)) => command,
            other => panic!("expected a command, got {other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, message: Option<value_entity_stream_out::Message>) {
        let outbound = self.outbound.as_ref().expect("not ended");
        outbound.send(Ok(ValueEntityStreamOut { message })).await.expect("the sidecar reads");
    }

    pub(crate) async fn reply(&mut self, reply: ValueEntityReply) {
        self.send(Some(value_entity_stream_out::Message::Reply(reply))).await;
    }

    /// Fails the stream with a gRPC status.
    pub(crate) async fn fail(&mut self, status: Status) {
        let outbound = self.outbound.take().expect("not ended");
        outbound.send(Err(status)).await.expect("the sidecar reads");
    }

    pub(crate) fn end(&mut self) {
        self.outbound = None;
    }

    /// Waits until the sidecar has half-closed, past commands.
    pub(crate) async fn half_closed(&mut self) {
        while self.next().await.is_some() {}
    }

    /// Waits until the sidecar has half-closed, past commands, and ends the function's side then.
    pub(crate) async fn closed(mut self) {
        self.half_closed().await;
    }
}

/// One stream, the test being the function.
pub(crate) struct ScriptedStream {
    inbound: Streaming<EventSourcedStreamIn>,
    outbound: Option<mpsc::Sender<Result<EventSourcedStreamOut, Status>>>,
    held: VecDeque<EventSourcedStreamIn>,
}

impl ScriptedStream {
    async fn next(&mut self) -> event_sourced_stream_in::Message {
        let message = match self.held.pop_front() {
            Some(message) => message,
            None => soon("a message", self.inbound.message()).await.expect("no error").expect("not closed"),
        };
        message.message.expect("not empty")
    }

    pub(crate) async fn init(&mut self) -> EventSourcedInit {
        match self.next().await {
            event_sourced_stream_in::Message::Init(init) => init,
            other => panic!("expected init, got {other:?}"),
        }
    }

    pub(crate) async fn event(&mut self) -> EventSourcedEvent {
        match self.next().await {
            event_sourced_stream_in::Message::Event(event) => event,
            other => panic!("expected an event, got {other:?}"),
        }
    }

    pub(crate) async fn command(&mut self) -> Command {
        match self.next().await {
            event_sourced_stream_in::Message::Command(command) => command,
            other => panic!("expected a command, got {other:?}"),
        }
    }

    /// The next command, past any events; `None` when the sidecar ended the stream.
    pub(crate) async fn next_or_end(&mut self) -> Option<Command> {
        loop {
            match soon("a message or the end", self.inbound.message()).await.ok()??.message? {
                event_sourced_stream_in::Message::Command(command) => return Some(command),
                _ => continue,
            }
        }
    }

    /// Init, unless the sidecar has given the stream up.
    pub(crate) async fn init_if_open(&mut self) -> Option<EventSourcedInit> {
        match soon("a message or the end", self.inbound.message()).await.ok()??.message? {
            event_sourced_stream_in::Message::Init(init) => Some(init),
            other => panic!("expected init, got {other:?}"),
        }
    }

    /// As [`next_or_end`](Self::next_or_end), however late.
    pub(crate) async fn next_or_end_however_late(&mut self) -> Option<Command> {
        loop {
            if let event_sourced_stream_in::Message::Command(command) = self.inbound.message().await.ok()??.message? {
                return Some(command);
            }
        }
    }

    /// Replies, unless the sidecar has given the stream up.
    pub(crate) async fn reply_if_open(&self, reply: EventSourcedReply) {
        if let Some(outbound) = &self.outbound {
            let message = Some(event_sourced_stream_out::Message::Reply(reply));
            drop(outbound.send(Ok(EventSourcedStreamOut { message })).await);
        }
    }

    /// Init without a snapshot, then `events` events, then a command.
    pub(crate) async fn until_command(&mut self, events: usize) -> Command {
        assert_eq!(self.init().await.snapshot, None);
        for _ in 0..events {
            self.event().await;
        }
        self.command().await
    }

    pub(crate) async fn send(&self, message: event_sourced_stream_out::Message) {
        let outbound = self.outbound.as_ref().expect("not ended");
        outbound.send(Ok(EventSourcedStreamOut { message: Some(message) })).await.expect("the sidecar reads");
    }

    pub(crate) async fn send_empty(&self) {
        let outbound = self.outbound.as_ref().expect("not ended");
        outbound.send(Ok(EventSourcedStreamOut { message: None })).await.expect("the sidecar reads");
    }

    pub(crate) async fn reply(&self, reply: EventSourcedReply) {
        self.send(event_sourced_stream_out::Message::Reply(reply)).await;
    }

    pub(crate) async fn fail(&self, command_id: i64, description: &str) {
        let failure = Failure { command_id, description: description.to_owned(), restart: false };
        self.send(event_sourced_stream_out::Message::Failure(failure)).await;
    }

    /// Ends the function's side.
    pub(crate) fn end(&mut self) {
        self.outbound = None;
    }

    /// Ends the function's side unasked, and waits until the sidecar has let go of the stream.
    pub(crate) async fn over(mut self) {
        self.end();
        let gone = async { while let Ok(Some(_)) = self.inbound.message().await {} };
        soon("the end of the stream", gone).await;
    }

    /// Waits until the sidecar has half-closed, and ends the function's side then.
    pub(crate) async fn closed(mut self) {
        self.half_closed().await;
    }

    /// Waits until the sidecar has half-closed.
    pub(crate) async fn half_closed(&mut self) {
        let next = soon("the half-close", self.inbound.message()).await.expect("half-closed, not reset");
        assert_eq!(next, None, "closed");
    }

    /// Whether the sidecar has reset the stream.
    pub(crate) async fn reset(&mut self) {
        let outcome = async { while let Ok(Some(_)) = self.inbound.message().await {} };
        soon("the half-close", outcome).await;
        soon("the reset", self.outbound.as_ref().expect("not ended").closed()).await;
    }
}

fn persisted(text: &str) -> Any {
    Any::pack("cloudstate.tck.model.Persisted", &tck::Persisted { value: text.to_owned() })
}

/// A reply with `message`, emitting `events`.
pub(crate) fn reply(command_id: i64, message: &str, events: &[&str]) -> EventSourcedReply {
    let payload = Any::pack("cloudstate.tck.model.Response", &tck::Response { message: message.to_owned() });
    let action = client_action::Action::Reply(Reply { payload: Some(payload), metadata: None });
    EventSourcedReply {
        command_id,
        client_action: Some(ClientAction { action: Some(action) }),
        events: events.iter().map(|text| persisted(text)).collect(),
        ..EventSourcedReply::default()
    }
}

pub(crate) fn with_snapshot(reply: EventSourcedReply, state: &str) -> EventSourcedReply {
    EventSourcedReply { snapshot: Some(persisted(state)), ..reply }
}

/// A reply of a value entity with `message`; `value`: `Some(None)` deletes.
pub(crate) fn value_reply(command_id: i64, message: &str, value: Option<Option<&str>>) -> ValueEntityReply {
    let action = match value {
        Some(Some(text)) => {
            Some(value_entity_action::Action::Update(ValueEntityUpdate { value: Some(persisted(text)) }))
        }
        Some(None) => Some(value_entity_action::Action::Delete(ValueEntityDelete {})),
        None => None,
    };
    ValueEntityReply {
        command_id,
        client_action: reply(command_id, message, &[]).client_action,
        side_effects: Vec::new(),
        state_action: action.map(|action| ValueEntityAction { action: Some(action) }),
    }
}

/// A failure in place of a reply.
pub(crate) fn failure(command_id: i64, text: &str, restart: bool) -> EventSourcedReply {
    let failure = Failure { command_id, description: text.to_owned(), restart };
    let action = client_action::Action::Failure(failure);
    EventSourcedReply {
        command_id,
        client_action: Some(ClientAction { action: Some(action) }),
        ..EventSourcedReply::default()
    }
}

/// The text of a stored event or snapshot.
pub(crate) fn text(any: Option<Any>) -> String {
    let any = any.expect("a payload");
    assert_eq!(any.type_url, "type.googleapis.com/cloudstate.tck.model.Persisted");
    tck::Persisted::decode(any.value).expect("as it was sent").value
}

/// A sidecar in this process, on free ports and a store in memory unless told otherwise.
pub(crate) struct TestSidecar {
    pub(crate) proxy: Proxy,
    pub(crate) health: Health,
    pub(crate) address: SocketAddr,
}

impl TestSidecar {
    pub(crate) fn new(function: &ScriptedFunction, change: impl FnOnce(&mut ProxyConfig)) -> Self {
        Self::over(Store::in_memory(), function, change)
    }

    pub(crate) fn over(store: Store, function: &ScriptedFunction, change: impl FnOnce(&mut ProxyConfig)) -> Self {
        let mut config = ProxyConfig::default();
        config.http.interface = [127, 0, 0, 1].into();
        config.http.port = 0;
        config.user_function.port = function.port;
        config.user_function.reconnect.min = Duration::from_millis(20);
        config.user_function.reconnect.max = Duration::from_millis(200);
        change(&mut config);
        let health = Health::new();
        let proxy = Proxy::start(config, store, health.clone()).expect("a free port");
        let address = proxy.address();
        Self { proxy, health, address }
    }

    /// Waits until it serves.
    pub(crate) async fn ready(self) -> Self {
        soon("readiness", self.health.until_serving()).await;
        self
    }

    pub(crate) fn client(&self) -> Model {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("an address");
        Model(EventSourcedTckModelClient::new(endpoint.connect_lazy()))
    }
}

impl TestSidecar {
    pub(crate) fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("an address");
        endpoint.connect_lazy()
    }
}

/// A client of the model service.
#[derive(Clone)]
pub(crate) struct Model(EventSourcedTckModelClient<Channel>);

impl Model {
    /// Calls `Process` on the entity `id`, in a task of its own.
    pub(crate) fn process(&self, id: &str) -> tokio::task::JoinHandle<Result<String, Status>> {
        let mut client = self.0.clone();
        let request = tck::Request { id: id.to_owned(), actions: Vec::new() };
        tokio::spawn(async move { Ok(client.process(request).await?.into_inner().message) })
    }

    /// The same, with an `idempotency-key`.
    pub(crate) fn process_once(&self, id: &str, key: &str) -> tokio::task::JoinHandle<Result<String, Status>> {
        let mut client = self.0.clone();
        let mut request = Request::new(tck::Request { id: id.to_owned(), actions: Vec::new() });
        request.metadata_mut().insert("idempotency-key", key.parse().expect("a key"));
        tokio::spawn(async move { Ok(client.process(request).await?.into_inner().message) })
    }

    /// The same, with a time limit that travels with the call.
    pub(crate) fn process_within(&self, id: &str, limit: Duration) -> tokio::task::JoinHandle<Result<String, Status>> {
        let mut client = self.0.clone();
        let mut request = Request::new(tck::Request { id: id.to_owned(), actions: Vec::new() });
        request.set_timeout(limit);
        tokio::spawn(async move { Ok(client.process(request).await?.into_inner().message) })
    }
}

pub(crate) async fn answer(call: tokio::task::JoinHandle<Result<String, Status>>) -> Result<String, Status> {
    soon("the answer", call).await.expect("the call did not panic")
}
