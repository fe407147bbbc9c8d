//! Controllers on two nodes.

use crate::{
    WireMessage,
    refs::tests::nodes::{Node, SECOND, Two},
    remote::{
        pack::{PackError, Packer, Unpacker},
        wire::RegistryBuilder,
    },
};
use actors::{
    Actor, ActorContext, ActorRef, Behavior, FnActor, Handled, ServiceKey,
    delivery::{
        ConsumerController, ConsumerControllerMessage, ConsumerSettings, Delivery, ProducerController,
        ProducerControllerMessage, ProducerSettings, RequestNext, WorkPullingController, WorkPullingControllerMessage,
        WorkPullingSettings,
    },
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{ops::RangeInclusive, sync::Arc};

#[derive(Debug, Serialize, Deserialize)]
struct Parcel(u64);

impl WireMessage for Parcel {
    const NAME: &'static str = "test.Parcel";
}

/// Sends parcels of these numbers.
struct Sender(u64, u64);

impl Actor for Sender {
    type Message = RequestNext<Parcel>;

    async fn receive(&mut self, _: &mut ActorContext<Self::Message>, next: RequestNext<Parcel>) -> Handled {
        if self.0 < self.1 {
            next.send(Parcel(self.0));
            self.0 += 1;
        }
        Ok(Behavior::Same)
    }
}

/// Writes down what comes, and confirms it.
struct Clerk(Arc<Mutex<Vec<u64>>>);

impl Actor for Clerk {
    type Message = Delivery<Parcel>;

    async fn receive(&mut self, _: &mut ActorContext<Self::Message>, delivery: Delivery<Parcel>) -> Handled {
        self.0.lock().push(delivery.message().0);
        delivery.confirm();
        Ok(Behavior::Same)
    }
}

fn nodes() -> Two {
    Two::with(|registry| crate::receptionist::protocol(registry.delivery::<Parcel>()))
}

#[test]
fn parcels_arrive_once_and_in_order_at_another_node_whatever_is_lost() {
    let nodes = nodes();
    let sending = nodes.one.system.spawn("sending", ProducerController::props("parcels", ProducerSettings::default()));
    let sender = nodes.one.system.spawn("sender", Sender(0, 300));
    sending.tell(ProducerControllerMessage::Start { producer: sender });
    let counting = nodes.two.system.spawn("counting", ConsumerController::props(ConsumerSettings::default()));
    let counted = Arc::new(Mutex::new(Vec::new()));
    let clerk = nodes.two.system.spawn("clerk", Clerk(counted.clone()));
    counting.tell(ConsumerControllerMessage::Start { deliver_to: clerk });
    nodes.two.refs.name("counting", &counting).unwrap();
    let there: ActorRef<ConsumerControllerMessage<Parcel>> = nodes.one.refs.named(&nodes.two.me, "counting").unwrap();
    // Of all frames both ways each fifth is lost.
    for node in [&nodes.one, &nodes.two] {
        let sent = Mutex::new(0_u32);
        node.remote.lose(move |_, system, _| {
            let mut sent = sent.lock();
            *sent += 1;
            !system && sent.is_multiple_of(5)
        });
    }
    sending.tell(ProducerControllerMessage::ConnectTo { consumer: there.map(ConsumerControllerMessage::FromProducer) });
    nodes.kit.advance(600 * SECOND);
    assert_eq!(*counted.lock(), (0..300).collect::<Vec<_>>());
}

#[test]
fn workers_of_other_nodes_pull_work() {
    let nodes = nodes();
    let key = ServiceKey::<ConsumerControllerMessage<Parcel>>::new("workers");
    let done = Arc::new(Mutex::new(Vec::new()));
    for (node, name) in [(&nodes.one, "one"), (&nodes.two, "two")] {
        let props = ConsumerController::props(ConsumerSettings::default()).service(key.clone());
        let worker = node.system.spawn(format!("worker-{name}"), props);
        let clerk = node.system.spawn(format!("clerk-{name}"), Clerk(done.clone()));
        worker.tell(ConsumerControllerMessage::Start { deliver_to: clerk });
    }
    nodes.join_receptionists();
    nodes.settle();
    let work = WorkPullingController::props("work", WorkPullingSettings::default()).service(key);
    let work = nodes.one.system.spawn("work", work);
    nodes.settle();
    let sender = nodes.one.system.spawn("sender", Sender(0, 200));
    work.tell(WorkPullingControllerMessage::Start { producer: sender });
    nodes.kit.advance(30 * SECOND);
    let stats = nodes.kit.block_on(async { work.ask(WorkPullingControllerMessage::GetWorkerStats, SECOND).await });
    assert_eq!(stats.unwrap().workers, 2);
    let mut done = done.lock().clone();
    done.sort_unstable();
    assert_eq!(done, (0..200).collect::<Vec<_>>());
}

/// Parcels of another release: it writes them with a note, and reads and writes those without.
#[derive(Debug, PartialEq)]
struct Noted {
    number: u64,
    note: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Second {
    number: u64,
    note: String,
}

// Both are what they are on the wire in version 1.
impl Serialize for Noted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Parcel(self.number).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Noted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Parcel::deserialize(deserializer).map(|Parcel(number)| Self { number, note: "none".to_owned() })
    }
}

impl WireMessage for Noted {
    const NAME: &'static str = Parcel::NAME;
    const VERSION: u32 = 2;
    const READS: RangeInclusive<u32> = 1..=2;

    fn write(&self, version: u32, out: &mut Packer<'_>) -> Result<(), PackError> {
        match version {
            1 => out.value(self),
            _ => out.value(&Second { number: self.number, note: self.note.clone() }),
        }
    }

    fn read(version: u32, bytes: Unpacker<'_>) -> Result<Self, PackError> {
        if version == 1 {
            return bytes.value();
        }
        let Second { number, note } = bytes.value()?;
        Ok(Self { number, note })
    }
}

/// Sends ten, and writes down ten.
fn deliver<T, U>(
    nodes: &Two,
    from: &Node,
    to: &Node,
    make: impl Fn(u64) -> T + Send + 'static,
    note: impl Fn(&U) -> String + Send + 'static,
) -> Vec<String>
where
    T: WireMessage + Sync,
    U: WireMessage + Sync,
{
    let sending = from.system.spawn("sending", ProducerController::props("parcels", ProducerSettings::default()));
    let sender = FnActor::new(0, move |sent, _, next: RequestNext<T>| {
        if *sent < 10 {
            next.send(make(*sent));
            *sent += 1;
        }
        Ok(Behavior::Same)
    });
    sending.tell(ProducerControllerMessage::Start { producer: from.system.spawn("sender", sender) });
    let counting = to.system.spawn("counting", ConsumerController::props(ConsumerSettings::default()));
    let noted = Arc::new(Mutex::new(Vec::new()));
    let notes = noted.clone();
    let clerk = FnActor::new((), move |(), _, delivery: Delivery<U>| {
        notes.lock().push(note(delivery.message()));
        delivery.confirm();
        Ok(Behavior::Same)
    });
    counting.tell(ConsumerControllerMessage::Start { deliver_to: to.system.spawn("clerk", clerk) });
    to.refs.name("counting", &counting).unwrap();
    let there: ActorRef<ConsumerControllerMessage<T>> = from.refs.named(&to.me, "counting").unwrap();
    let consumer = there.map(ConsumerControllerMessage::FromProducer);
    sending.tell(ProducerControllerMessage::ConnectTo { consumer });
    nodes.kit.advance(10 * SECOND);
    noted.lock().clone()
}

fn noted(number: u64) -> Noted {
    Noted { number, note: "fragile".to_owned() }
}

#[test]
fn parcels_go_in_the_version_that_the_other_node_reads() {
    let numbers = |text: &str| (0..10).map(|number| format!("{number} {text}")).collect::<Vec<_>>();
    let nodes = || Two::with_each(RegistryBuilder::delivery::<Noted>, RegistryBuilder::delivery::<Parcel>);
    let at = nodes();
    let got = deliver(&at, &at.one, &at.two, noted, |parcel: &Parcel| format!("{} old", parcel.0));
    assert_eq!(got, numbers("old"), "the one that reads both writes what the other reads");
    let at = nodes();
    let got = deliver(&at, &at.two, &at.one, Parcel, |parcel: &Noted| format!("{} {}", parcel.number, parcel.note));
    assert_eq!(got, numbers("none"), "and reads what the other writes");
    let at = Two::with(RegistryBuilder::delivery::<Noted>);
    let got = deliver(&at, &at.one, &at.two, noted, |parcel: &Noted| format!("{} {}", parcel.number, parcel.note));
    assert_eq!(got, numbers("fragile"), "two that read the new one");
}
