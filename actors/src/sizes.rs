//! What an idle actor holds: asserted, because it grows by carelessness.

use crate::actor::{Actor, Behavior, Handled};
use crate::cell::Cell;
use crate::context::ActorContext;
use crate::envelope::Envelope;

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
    let future = crate::engine::size_of_existence::<Small>();
    assert!(cell <= 344, "the cell of an actor has grown to {cell} bytes: put what not every actor needs into a box");
    assert!(future <= 384, "the future of an actor has grown to {future} bytes: box what is rare when it happens");
    assert_eq!(size_of::<Envelope<[u64; 4]>>(), 48, "a message on its way takes its own size and two words");
}
