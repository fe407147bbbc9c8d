//! The chat's services behind a sidecar: who is online follows from the calls that are open.

use std::net::{Ipv4Addr, SocketAddr};

use examples::chat::friends::api::friends_client::FriendsClient;
use examples::chat::friends::api::{self as friends, Friend, FriendRequest};
use examples::chat::presence::api::presence_client::PresenceClient;
use examples::chat::presence::api::{OnlineStatus, User};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::arrangement::{Sidecar, serve};

#[tokio::test]
async fn a_user_is_online_while_connected() {
    let chat = Chat::start().await;
    let mut monitor = chat.monitor("alice").await;
    assert!(!online(&mut monitor).await);

    let call = chat.connect("alice");
    assert!(online(&mut monitor).await);
    call.abort();
    assert!(!online(&mut monitor).await);

    // And once more: nothing of the first call is left.
    let call = chat.connect("alice");
    assert!(online(&mut monitor).await);
    call.abort();
    assert!(!online(&mut monitor).await);
}

#[tokio::test]
async fn users_do_not_mix() {
    let chat = Chat::start().await;
    let mut bob = chat.monitor("bob").await;
    assert!(!online(&mut bob).await);
    let mut alice = chat.monitor("alice").await;
    assert!(!online(&mut alice).await);
    let _alice = chat.connect("alice");
    assert!(online(&mut alice).await);
    let _bob = chat.connect("bob");
    assert!(online(&mut bob).await, "the first news of bob");
}

#[tokio::test]
async fn a_user_whose_connection_breaks_is_offline() {
    let chat = Chat::start().await;
    let mut monitor = chat.monitor("alice").await;
    assert!(!online(&mut monitor).await);

    let cable = Cable::to(chat.address).await;
    let mut through = PresenceClient::new(channel(cable.address));
    let call = tokio::spawn(async move { hold(&mut through, "alice").await });
    assert!(online(&mut monitor).await);

    cable.cut().await;
    assert!(!online(&mut monitor).await);
    call.abort();
}

#[tokio::test]
async fn a_monitor_that_hangs_up_does_not_disturb_the_others() {
    let chat = Chat::start().await;
    let mut stays = chat.monitor("alice").await;
    let mut leaves = chat.monitor("alice").await;
    assert!(!online(&mut stays).await);
    assert!(!online(&mut leaves).await);
    drop(leaves);
    let _call = chat.connect("alice");
    assert!(online(&mut stays).await);
}

#[tokio::test]
async fn friends_come_and_go() {
    let sidecar = Sidecar::before(serve(examples::chat::friends::function()).await).ready().await;
    let mut client = FriendsClient::new(channel(sidecar.address));
    for (user, avatar) in [("bob", "cat.png"), ("carol", "owl.png"), ("bob", "dog.png")] {
        client.add(request(user, avatar)).await.expect("added");
    }
    assert_eq!(names(&mut client).await, [("bob", "dog.png"), ("carol", "owl.png")].map(owned));
    client.remove(request("bob", "")).await.expect("removed");
    assert_eq!(names(&mut client).await, [("carol", "owl.png")].map(owned));

    let nobody = FriendRequest { user: "alice".to_owned(), friend: None };
    let refused = client.add(nobody).await.expect_err("nobody");
    assert_eq!(refused.message(), "friend.user must be set");
}

/// Presence and its sidecar.
struct Chat {
    address: SocketAddr,
    client: PresenceClient<Channel>,
    _sidecar: Sidecar,
}

impl Chat {
    async fn start() -> Self {
        let sidecar = Sidecar::before(serve(examples::chat::presence::function()).await).ready().await;
        Self { address: sidecar.address, client: PresenceClient::new(channel(sidecar.address)), _sidecar: sidecar }
    }

    async fn monitor(&self, name: &str) -> Streaming<OnlineStatus> {
        let user = User { name: name.to_owned() };
        self.client.clone().monitor(user).await.expect("a stream").into_inner()
    }

    /// Connects until the task is aborted.
    fn connect(&self, name: &str) -> JoinHandle<()> {
        let (mut client, name) = (self.client.clone(), name.to_owned());
        tokio::spawn(async move { hold(&mut client, &name).await })
    }
}

/// Connects and stays; nothing is ever received.
async fn hold(client: &mut PresenceClient<Channel>, name: &str) {
    if let Ok(call) = client.connect(User { name: name.to_owned() }).await {
        let received = call.into_inner().message().await;
        assert!(!matches!(received, Ok(Some(()))), "a message to one who is connected");
    }
}

async fn online(monitor: &mut Streaming<OnlineStatus>) -> bool {
    let status = tokio::time::timeout(PATIENCE, monitor.message()).await.expect("news in time");
    status.expect("a stream without errors").expect("a stream without an end").online
}

/// So long that only what never comes is missed.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// A TCP connection that can be cut.
struct Cable {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Cable {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let task = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.expect("a client");
            let mut server = TcpStream::connect(target).await.expect("the sidecar");
            // Ends when it is cut, or with an error when one side is gone.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
        Self { address, task }
    }

    async fn cut(self) {
        self.task.abort();
        assert!(self.task.await.is_err(), "it was in one piece until now");
    }
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).expect("an address").connect_lazy()
}

fn request(user: &str, avatar: &str) -> FriendRequest {
    let friend = Friend { user: user.to_owned(), avatar: avatar.to_owned() };
    FriendRequest { user: "alice".to_owned(), friend: Some(friend) }
}

async fn names(client: &mut FriendsClient<Channel>) -> Vec<(String, String)> {
    let user = friends::User { user: "alice".to_owned() };
    let listed = client.get_friends(user).await.expect("a list").into_inner();
    listed.friends.into_iter().map(|friend| (friend.user, friend.avatar)).collect()
}

fn owned((user, avatar): (&str, &str)) -> (String, String) {
    (user.to_owned(), avatar.to_owned())
}
