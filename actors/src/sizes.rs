//! What an idle actor holds: asserted, because it grows by carelessness.

use crate::actor::{Actor, Behavior, Handled};
use crate::ask::ReplyTo;
use crate::cell::Cell;
use crate::context::ActorContext;
use crate::envelope::Envelope;
use crate::own::Whole;

#[expect(dead_code, reason = "for its size")]
enum Counter {
    Add(u64),
    Get(u64, ReplyTo<u64>),
    Stop,
}

struct Small(u64);

impl Actor for Small {
    type Message = u64;

    async fn receive(&mut self, _ctx: &mut ActorContext<u64>, message: u64) -> Handled {
        self.0 += message;
        Ok(Behavior::Same)
    }
}

#[test]
fn an_idle_actor_is_small() {
    let cell = size_of::<Cell<u64>>();
    let whole = size_of::<Whole<Small>>();
    assert!(cell <= 240, "the cell of an actor has grown to {cell} bytes: put what not every actor needs into a box");
    assert!(whole <= 336, "an actor has grown to {whole} bytes: put what not every actor needs into a box");
    assert_eq!(size_of::<Envelope<[u64; 4]>>(), 40, "the envelope of a message is a word larger than that");
    assert_eq!(size_of::<Envelope<Counter>>(), 24, "and one with variants no more than its own");
}
