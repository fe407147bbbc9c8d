//! A chat over TCP: lines of text, one actor for each connection, and a room that passes on what is said.
//!
//! `cargo run -p examples --example chat_over_tcp -- 7000`, then `nc 127.0.0.1 7000` in as many terminals as you like.
//! The first line is your name. Ctrl-c ends it: nobody is let in any more, all are told, and the process ends.
//!
//! ```text
//!                ┌─ Door ──────────┐           ┌─ Room ─────────────────────────┐
//!  connect ────▶ │ accepts, a task │ ────────▶ │ knows who is there             │
//!                └─────────────────┘  Arrived  │   ┌─ Connection ─────────────┐ │
//!  lines in ────────────────────────────────── │ ◀─│ reads, a task            │ │
//!  lines out ◀──────────────────────────────── │ ──│▶ writes, in its handler  │ │
//!                                     Said     │   └──────────────────────────┘ │
//!                                              └────────────────────────────────┘
//! ```
//!
//! Every arrow has a bound. Who talks faster than the room listens is slowed down by TCP, because the reading task waits
//! for room in the room's mailbox. Who does not read holds up nobody but itself: its connection waits in a write, its
//! mailbox fills up, and the room, which never waits, counts the lines it misses and says so when there is space again.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actors::{
    Actor, ActorContext, ActorPath, ActorRef, ActorSystem, Behavior, Handled, Mailbox, Phase, Props, ReplyTo, Signal,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Longest line in bytes, its end included; a longer one ends the connection.
const LINE_MAX: u64 = 4_096;
/// Lines that wait for one reader.
const WAITING_MAX: usize = 64;
/// What waits for a reader waits in its mailbox, where it is counted, not in the kernel.
const SEND_BUFFER_BYTES: u32 = 16 * 1_024;
const GOODBYE_WITHIN: Duration = Duration::from_millis(200);
/// How long a write may keep a connection from stopping.
const STOP_WITHIN: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Lets people in, until it is closed.
struct Door {
    listener: Option<TcpListener>,
    room: ActorRef<RoomMessage>,
}

enum DoorMessage {
    /// Lets nobody in any more.
    Close(ReplyTo<()>),
}

impl Actor for Door {
    type Message = DoorMessage;

    async fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> Handled {
        let listener = self.listener.take().ok_or("the listener went down with an earlier life")?;
        let (room, clock) = (self.room.clone(), ctx.clock().clone());
        ctx.spawn_task(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    clock.sleep(Duration::from_millis(100)).await; // too many open files, say: it may be better soon
                    continue;
                };
                if room.send(RoomMessage::Arrived(stream)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, _ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        let DoorMessage::Close(reply_to) = msg;
        reply_to.tell(());
        Ok(Behavior::Stopped) // the task ends with it, and so does the listener
    }
}

/// Passes on what is said to all others. Parent of the connections.
#[derive(Default)]
struct Room {
    members: HashMap<ActorPath, Member>,
}

struct Member {
    name: Arc<str>,
    connection: ActorRef<ConnectionMessage>,
    /// Lines there was no room for since the last one that fitted.
    missed: u64,
}

enum RoomMessage {
    Arrived(TcpStream),
    /// Said its name.
    Entered {
        name: Arc<str>,
        connection: ActorRef<ConnectionMessage>,
    },
    Said {
        connection: ActorPath,
        text: String,
    },
    /// Goes, or is gone. The answer says that everything it said before has been passed on.
    Left {
        connection: ActorPath,
        reply_to: ReplyTo<()>,
    },
}

impl Actor for Room {
    type Message = RoomMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        match msg {
            RoomMessage::Arrived(stream) => {
                let connection = Connection::new(stream, ctx.this().clone());
                let props = Props::from(connection).mailbox(Mailbox::bounded(WAITING_MAX)).stop_timeout(STOP_WITHIN);
                ctx.spawn_anonymous(props);
            }
            RoomMessage::Entered { name, connection } => {
                let welcome = format!("* welcome {name}, {} others are here", self.members.len());
                connection.tell(ConnectionMessage::Line(welcome.into()));
                let path = connection.path().clone();
                self.tell_all_but(&path, &format!("* {name} enters"));
                // However it ends.
                let left = RoomMessage::Left { connection: path.clone(), reply_to: ReplyTo::ignore() };
                ctx.watch_with(&connection, left);
                self.members.insert(path, Member { name, connection, missed: 0 });
            }
            RoomMessage::Said { connection, text } => {
                if let Some(Member { name, .. }) = self.members.get(&connection) {
                    let line = format!("{name}: {text}");
                    self.tell_all_but(&connection, &line);
                }
            }
            RoomMessage::Left { connection, reply_to } => {
                if let Some(Member { name, .. }) = self.members.remove(&connection) {
                    self.tell_all_but(&connection, &format!("* {name} leaves"));
                }
                reply_to.tell(());
            }
        }
        Ok(Behavior::Same)
    }
}

impl Room {
    /// Never waits: what a member has no room for, it misses.
    fn tell_all_but(&mut self, speaker: &ActorPath, line: &str) {
        let line: Arc<str> = line.into();
        for member in self.members.values_mut().filter(|member| member.connection.path() != speaker) {
            if member.missed > 0 {
                let apology = format!("* you missed {} lines", member.missed).into();
                if member.connection.try_tell(ConnectionMessage::Line(apology)).is_ok() {
                    member.missed = 0;
                }
            }
            let told = member.missed == 0 && member.connection.try_tell(ConnectionMessage::Line(line.clone())).is_ok();
            member.missed += u64::from(!told);
        }
    }
}

/// Writes to one peer what it is told. A task of its own reads what the peer says.
struct Connection {
    reads: Option<OwnedReadHalf>,
    writes: OwnedWriteHalf,
    room: ActorRef<RoomMessage>,
    /// What the peer is told at the end.
    last_word: String,
}

enum ConnectionMessage {
    Line(Arc<str>),
    /// There is nothing more to read.
    ReadToEnd(io::Result<()>),
}

impl Connection {
    fn new(stream: TcpStream, room: ActorRef<RoomMessage>) -> Self {
        let (reads, writes) = stream.into_split();
        Self { reads: Some(reads), writes, room, last_word: "goodbye".to_owned() }
    }
}

impl Actor for Connection {
    type Message = ConnectionMessage;

    async fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> Handled {
        let reads = self.reads.take().ok_or("the connection went down with an earlier life")?;
        let task = read(reads, ctx.this().clone(), self.room.clone());
        ctx.pipe_to_self(task, ConnectionMessage::ReadToEnd);
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, _ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        match msg {
            // As long as the peer does not read this waits, and lines wait in the mailbox.
            ConnectionMessage::Line(line) => match self.writes.write_all(format!("{line}\n").as_bytes()).await {
                Ok(()) => Ok(Behavior::Same),
                Err(_) => Ok(Behavior::Stopped), // the peer is gone, as peers do
            },
            ConnectionMessage::ReadToEnd(end) => {
                if let Err(error) = end {
                    self.last_word = error.to_string();
                }
                Ok(Behavior::Stopped)
            }
        }
    }

    async fn on_signal(&mut self, ctx: &mut ActorContext<Self::Message>, signal: Signal) -> Handled {
        if let Signal::PostStop = signal {
            let line = format!("* {}\n", self.last_word);
            let _ = ctx.clock().timeout(GOODBYE_WITHIN, self.writes.write_all(line.as_bytes())).await; // best effort
        }
        Ok(Behavior::Same)
    }
}

/// Tells the room what the peer says, and when that is over.
async fn read(
    reads: OwnedReadHalf,
    connection: ActorRef<ConnectionMessage>,
    room: ActorRef<RoomMessage>,
) -> io::Result<()> {
    let path = connection.path().clone();
    let end = pass_on(BufReader::new(reads), connection, &room).await;
    // The end of a connection is a signal, which would overtake its last words: so it waits for those.
    let left = |reply_to| RoomMessage::Left { connection: path, reply_to };
    let _ = room.ask(left, ANSWER_WITHIN).await;
    end
}

/// Tells the room each line, the first as a name.
async fn pass_on(
    mut lines: BufReader<OwnedReadHalf>,
    connection: ActorRef<ConnectionMessage>,
    room: &ActorRef<RoomMessage>,
) -> io::Result<()> {
    let Some(name) = next_line(&mut lines).await? else { return Ok(()) };
    let path = connection.path().clone();
    let mut to_tell = RoomMessage::Entered { name: name.into(), connection };
    while room.send(to_tell).await.is_ok() {
        let Some(text) = next_line(&mut lines).await? else { break };
        to_tell = RoomMessage::Said { connection: path.clone(), text };
    }
    Ok(())
}

/// The next line without its end; `None` when there is none.
async fn next_line(lines: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    lines.take(LINE_MAX).read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => Ok(Some(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned())),
        Some(_) if line.len() as u64 + 1 == LINE_MAX => Err(io::Error::other("a line is too long")),
        Some(_) | None => Ok(None), // a line that has no end was cut off
    }
}

/// Opens the door on a port of this machine, and returns which: a free one for 0.
async fn open(system: &ActorSystem, port: u16) -> anyhow::Result<u16> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?; // accepted connections inherit it
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    let listener = socket.listen(64)?;
    let port = listener.local_addr()?.port();

    let room = system.spawn("room", Room::default());
    let door = system.spawn("door", Door { listener: Some(listener), room });
    // First the door; then, in the phase in which all actors stop, the connections.
    system.coordinated_shutdown().add_task(Phase::ServiceUnbind, "close the door", move || async move {
        Ok(door.ask(DoorMessage::Close, ANSWER_WITHIN).await?)
    })?;
    Ok(port)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows what happens")]
async fn main() -> anyhow::Result<ExitCode> {
    let port = std::env::args().nth(1).map_or(Ok(7000), |port| port.parse())?;
    let system = ActorSystem::new("chat");
    let shutdown = system.coordinated_shutdown();
    shutdown.run_on_signals()?;
    println!("listening on 127.0.0.1:{}", open(&system, port).await?);
    let report = shutdown.ended().await;
    println!("closed");
    Ok(ExitCode::from(report.exit_code()))
}
