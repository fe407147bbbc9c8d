//! The clock, real and virtual.

use std::time::Duration;

use actors::testkit::TestKit;
use actors::{Clock, Elapsed, Tick};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn virtual_time_moves_only_when_told_and_the_wall_clock_with_it() {
    let kit = TestKit::new();
    let (before, wall) = (kit.clock().now(), kit.clock().wall_ms());
    kit.settle();
    assert_eq!(kit.clock().now(), before);
    kit.advance(SECOND * 3600 * 24);
    assert_eq!(kit.clock().now() - before, SECOND * 3600 * 24);
    assert_eq!(kit.clock().wall_ms() - wall, 24 * 3600 * 1000);
}

#[test]
fn a_timeout_gives_the_output_or_says_how_long_it_waited() {
    let kit = TestKit::new();
    let clock = kit.clock().clone();
    kit.block_on(async {
        assert_eq!(clock.timeout(SECOND, async { 1 }).await, Ok(1));
        assert_eq!(clock.timeout(SECOND, clock.sleep(SECOND * 2)).await, Err(Elapsed { within: SECOND }));
    });
}

#[test]
fn ticks_saturate_instead_of_wrapping() {
    let later = Tick::START + SECOND;
    assert_eq!(later - Tick::START, SECOND);
    assert_eq!(Tick::START - later, Duration::ZERO);
    assert_eq!((later + Duration::MAX) + SECOND, later + Duration::MAX);
}

#[test]
fn a_deadline_beyond_all_time_is_waited_for_without_complaint() {
    let kit = TestKit::new();
    let clock = kit.clock().clone();
    let outcome = kit.block_on(clock.timeout(SECOND, clock.sleep(Duration::MAX)));
    assert_eq!(outcome, Err(Elapsed { within: SECOND }));
}

/// The production clock can be read and waited for from a thread without a runtime of its own.
#[test]
fn the_real_clock_works_from_any_thread() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let clock = runtime.block_on(async { Clock::tokio() });
    let before = clock.now();
    let sleep = clock.sleep(Duration::from_millis(1)); // made outside the runtime
    runtime.block_on(sleep);
    assert!(clock.now() - before >= Duration::from_millis(1));
    assert!(clock.wall_ms() > 1_700_000_000_000);
}
