//! Nobody crashes: in order, nothing lost, nothing twice, and never more under way than the window.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;

use actors::delivery::ConsumerSettings;

use super::site::Stage;
use super::wire::Faults;

fn window(messages: u32) -> ConsumerSettings {
    ConsumerSettings { window: NonZeroU32::new(messages).unwrap(), ..ConsumerSettings::default() }
}

#[test]
fn in_order_without_loss_or_doubles_over_any_wire() {
    for seed in 0..200 {
        let faults = Faults::of_seed(seed);
        let stage = Stage::new(seed, faults);
        let (messages, window) = (15, [50, 1, 2, 7][(seed % 4) as usize]);
        stage.producer(messages, stage.producer_props());
        stage.consumer(0.0, stage.consumer_props(self::window(window)));

        stage.run_until_delivered(messages);

        assert_eq!(stage.delivered(), (1..=messages).collect::<Vec<_>>(), "seed {seed}, {faults:?}");
        let in_flight = stage.gauge.in_flight_max.load(Ordering::Relaxed);
        assert!(in_flight <= u64::from(window), "seed {seed}: {in_flight} under way, window {window}");
    }
}
