//! The same over one bare connection: a length of four bytes, as many bytes as say which actor a message is for and how it
//! is written, and the message as MessagePack with the names of fields.

use std::{sync::Arc, time::Instant};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
    sync::mpsc,
};

use crate::messages::{AHEAD, Message, Note, Received};
use crate::pair::runtime;

const BUFFER: usize = 64 * 1024;

/// The length, and what is before a message between nodes.
const HEAD: [u8; 4 + 7] = [0; 11];

/// A task that writes what it is handed, and one of another runtime that reads and counts.
pub struct BareNotes {
    here: Runtime,
    _there: Runtime,
    sender: mpsc::Sender<Note>,
    received: Arc<Received>,
}

impl BareNotes {
    pub fn start() -> anyhow::Result<Self> {
        let (here, there) = (runtime()?, runtime()?);
        let (mine, theirs) = connect(&here, &there)?;
        let received = Arc::<Received>::default();
        let (sender, queue) = mpsc::channel(AHEAD as usize);
        here.spawn(write(mine, queue));
        there.spawn(take(theirs, received.clone()));
        Ok(Self { here, _there: there, sender, received })
    }

    pub fn tell(&self, count: u64) -> anyhow::Result<()> {
        let (sender, received) = (self.sender.clone(), self.received.clone());
        let telling = self.here.spawn(async move {
            let send = |note| sender.try_send(note).expect("there is room for all that are ahead");
            received.keep_up(count, send).await;
        });
        Ok(self.here.block_on(telling)?)
    }
}

async fn write(mut to: Frames, mut queue: mpsc::Receiver<Note>) -> anyhow::Result<()> {
    while let Some(note) = queue.recv().await {
        to.write(&Message::Note(note)).await?;
        while let Ok(note) = queue.try_recv() {
            to.write(&Message::Note(note)).await?;
        }
        to.writer.flush().await?;
    }
    Ok(())
}

async fn take(mut from: Frames, received: Arc<Received>) -> anyhow::Result<()> {
    loop {
        if let Message::Note(note) = from.read().await? {
            received.add(&note);
        }
    }
}

/// A task that asks, and one of another runtime that answers.
pub struct BareEcho {
    here: Runtime,
    _there: Runtime,
    frames: Option<Frames>,
}

impl BareEcho {
    pub fn start() -> anyhow::Result<Self> {
        let (here, there) = (runtime()?, runtime()?);
        let (mine, theirs) = connect(&here, &there)?;
        there.spawn(echo(theirs));
        Ok(Self { here, _there: there, frames: Some(mine) })
    }

    /// How many nanoseconds each of so many questions took.
    pub fn ask(&mut self, count: u64) -> anyhow::Result<Vec<f64>> {
        let mut frames = self.frames.take().expect("it is put back");
        let (frames, took) = self.here.block_on(self.here.spawn(async move {
            let mut took = Vec::with_capacity(count as usize);
            for number in 0..count {
                let start = Instant::now();
                frames.write(&number).await?;
                frames.writer.flush().await?;
                assert_eq!(frames.read::<u64>().await?, number);
                took.push(start.elapsed().as_nanos() as f64);
            }
            anyhow::Ok((frames, took))
        }))??;
        self.frames = Some(frames);
        Ok(took)
    }
}

async fn echo(mut frames: Frames) -> anyhow::Result<()> {
    loop {
        let number: u64 = frames.read().await?;
        frames.write(&number).await?;
        frames.writer.flush().await?;
    }
}

/// A connection, one frame a value.
struct Frames {
    reader: BufReader<OwnedReadHalf>,
    writer: BufWriter<OwnedWriteHalf>,
    bytes: Vec<u8>,
}

impl Frames {
    fn new(stream: TcpStream) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let (reader, writer) = (BufReader::with_capacity(BUFFER, reader), BufWriter::with_capacity(BUFFER, writer));
        Ok(Self { reader, writer, bytes: Vec::new() })
    }

    async fn write(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        self.bytes.clear();
        self.bytes.extend(HEAD);
        value.serialize(&mut rmp_serde::Serializer::new(&mut self.bytes).with_struct_map())?;
        let size = (self.bytes.len() - 4) as u32;
        self.bytes[..4].copy_from_slice(&size.to_be_bytes());
        Ok(self.writer.write_all(&self.bytes).await?)
    }

    async fn read<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let size = self.reader.read_u32().await? as usize;
        self.bytes.resize(size, 0);
        self.reader.read_exact(&mut self.bytes).await?;
        Ok(rmp_serde::from_slice(self.bytes.get(HEAD.len() - 4..).unwrap_or_default())?)
    }
}

/// Both ends of a connection, each of its own runtime.
fn connect(here: &Runtime, there: &Runtime) -> anyhow::Result<(Frames, Frames)> {
    let listener = there.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
    let mine = here.block_on(TcpStream::connect(listener.local_addr()?))?;
    let (theirs, _) = there.block_on(listener.accept())?;
    Ok((Frames::new(mine)?, Frames::new(theirs)?))
}
