//! Both halves of a link, and a wire that does with messages whatever it likes.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;

use proptest::prelude::*;

use super::consumer_state::{Arrival, ConsumerEffect, ConsumerState};
use super::producer_state::{ProducerEffect, ProducerState};
use super::protocol::{Ack, Incarnation, Payload, Request, Resend};
use super::settings::ConsumerSettings;

const PRODUCER: Incarnation = Incarnation::of(1, 1);

#[derive(Clone)]
enum Answer {
    Request(Request),
    Resend(Resend),
    Ack(Ack),
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    Produce,
    Confirm,
    /// Which of the messages under way; whether a copy stays under way.
    ToConsumer(usize, bool),
    ToProducer(usize, bool),
    LoseToConsumer(usize),
    LoseToProducer(usize),
    Retry,
    ResendFirst,
    CrashConsumer,
    /// The next life of a consumer says that it is there.
    Register,
}

fn any_step(crashes: bool) -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Produce),
        8 => Just(Step::Confirm),
        12 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(which, copy)| Step::ToConsumer(which, copy)),
        12 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(which, copy)| Step::ToProducer(which, copy)),
        6 => Just(Step::ToConsumer(0, false)),
        6 => Just(Step::ToProducer(0, false)),
        4 => any::<usize>().prop_map(Step::LoseToConsumer),
        4 => any::<usize>().prop_map(Step::LoseToProducer),
        3 => Just(Step::Retry),
        2 => Just(Step::ResendFirst),
        1 => Just(if crashes { Step::CrashConsumer } else { Step::Retry }),
        1 => Just(Step::Register),
    ]
}

struct Model {
    producer: ProducerState<u64>,
    consumer: ConsumerState<u64, ()>,
    settings: ConsumerSettings,
    consumers: u64,
    to_consumer: VecDeque<Sequenced>,
    to_producer: VecDeque<Answer>,
    asked: bool,
    produced: u64,
    /// Each message is cut into so many pieces.
    pieces: u64,
    handled: Vec<u64>,
    at_work: Option<(Incarnation, u64)>,
    finished: u64,
    sent_max: u64,
}

#[derive(Clone)]
struct Sequenced {
    seq_nr: u64,
    first: bool,
    payload: Payload<u64>,
}

impl Model {
    fn new(window: u32, pieces: u64, only_flow_control: bool) -> Self {
        let window = NonZeroU32::new(window).unwrap();
        let settings = ConsumerSettings { window, only_flow_control, ..ConsumerSettings::default() };
        let mut model = Self {
            producer: ProducerState::new(PRODUCER, 1),
            consumer: ConsumerState::new(Incarnation::of(2, 1), settings.clone(), None),
            settings,
            consumers: 1,
            to_consumer: VecDeque::new(),
            to_producer: VecDeque::new(),
            asked: false,
            produced: 0,
            pieces,
            handled: Vec::new(),
            at_work: None,
            finished: 0,
            sent_max: 0,
        };
        model.start_consumer();
        model
    }

    fn start_consumer(&mut self) {
        self.consumer = ConsumerState::new(Incarnation::of(2, self.consumers), self.settings.clone(), Some(numbers()));
        self.consumer.start();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Produce if self.asked => {
                self.asked = false;
                self.produced += 1;
                let effects = self.producer.push(cut(self.produced, self.pieces), false);
                self.producer_does(effects);
            }
            Step::Confirm => {
                if let Some((producer, seq_nr)) = self.at_work.take() {
                    self.finished = self.finished.max(seq_nr);
                    let effects = self.consumer.confirmed(producer, seq_nr);
                    self.consumer_does(effects);
                }
            }
            Step::ToConsumer(which, copy) => {
                if let Some(message) = take(&mut self.to_consumer, which, copy) {
                    let arrival = Arrival {
                        producer_id: "p".into(),
                        incarnation: PRODUCER,
                        seq_nr: message.seq_nr,
                        first: message.first,
                        ack: message.seq_nr % 3 == 0,
                        payload: message.payload,
                        address: (),
                    };
                    let effects = self.consumer.arrived(arrival).expect("chunks are whole");
                    self.consumer_does(effects);
                }
            }
            Step::ToProducer(which, copy) => {
                let effects = match take(&mut self.to_producer, which, copy) {
                    Some(Answer::Request(request)) => self.producer.request(request),
                    Some(Answer::Resend(resend)) => self.producer.resend(resend),
                    Some(Answer::Ack(ack)) => self.producer.ack(ack),
                    None => Vec::new(),
                };
                self.producer_does(effects);
            }
            Step::LoseToConsumer(which) => drop(take(&mut self.to_consumer, which, false)),
            Step::LoseToProducer(which) => drop(take(&mut self.to_producer, which, false)),
            Step::Retry => {
                let effects = self.consumer.retry();
                self.consumer_does(effects);
            }
            Step::ResendFirst => {
                let effects = self.producer.resend_first();
                self.producer_does(effects);
            }
            Step::CrashConsumer => {
                self.consumers += 1;
                self.at_work = None;
                self.start_consumer();
            }
            Step::Register => {
                let effects = self.producer.register(self.consumer.me());
                self.producer_does(effects);
            }
            Step::Produce => {}
        }
    }

    fn producer_does(&mut self, effects: Vec<ProducerEffect<u64>>) {
        for effect in effects {
            match effect {
                ProducerEffect::Send { seq_nr, first, kept } => {
                    self.sent_max = self.sent_max.max(seq_nr);
                    self.to_consumer.push_back(Sequenced { seq_nr, first, payload: kept.payload });
                }
                ProducerEffect::Confirmed { up_to, .. } => {
                    assert!(
                        up_to <= self.finished,
                        "{up_to} is confirmed, the consumer has finished {}",
                        self.finished
                    );
                }
                ProducerEffect::RequestNext => self.asked = true,
            }
        }
    }

    fn consumer_does(&mut self, effects: Vec<ConsumerEffect<u64, ()>>) {
        for effect in effects {
            match effect {
                ConsumerEffect::Request { request, .. } => self.to_producer.push_back(Answer::Request(request)),
                ConsumerEffect::Resend { resend, .. } => self.to_producer.push_back(Answer::Resend(resend)),
                ConsumerEffect::Ack { ack, .. } => self.to_producer.push_back(Answer::Ack(ack)),
                ConsumerEffect::Deliver { incarnation, seq_nr, message, .. } => {
                    assert_eq!(self.at_work, None, "one at a time");
                    self.handled.push(*message);
                    self.at_work = Some((incarnation, seq_nr));
                }
                ConsumerEffect::RetryAfter(_) => {}
            }
        }
    }

    /// The wire is good from now on, and whoever waits does so long enough.
    fn come_to_rest(&mut self, messages: u64) {
        for round in 0..200 {
            for _ in 0..8 {
                self.step(Step::ToConsumer(0, false));
                self.step(Step::ToProducer(0, false));
                self.step(Step::Confirm);
                if self.produced < messages {
                    self.step(Step::Produce);
                }
            }
            if round % 4 == 0 {
                self.step(Step::Retry);
                self.step(Step::ResendFirst);
                self.step(Step::Register);
            }
        }
    }

    fn in_flight(&self) -> u64 {
        self.sent_max.saturating_sub(self.finished)
    }
}

fn take<M: Clone>(under_way: &mut VecDeque<M>, which: usize, copy: bool) -> Option<M> {
    if under_way.is_empty() {
        return None;
    }
    let which = which % under_way.len();
    if copy { under_way.get(which).cloned() } else { under_way.remove(which) }
}

fn numbers() -> super::chunk::Chunking<u64> {
    let size = std::num::NonZeroUsize::MIN;
    super::chunk::Chunking::with(
        size,
        |number: &u64| number.to_le_bytes().to_vec(),
        |bytes| Ok(u64::from_le_bytes(bytes.try_into()?)),
    )
}

fn cut(number: u64, pieces: u64) -> Vec<Payload<u64>> {
    let pieces = std::num::NonZeroU64::new(pieces).unwrap();
    numbers().cut_into(&Arc::new(number), pieces).unwrap()
}

const MESSAGES: u64 = 30;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn in_order_nothing_lost_nothing_twice(
        window in 1u32..6,
        pieces in 1u64..4,
        steps in prop::collection::vec(any_step(false), 0..400),
    ) {
        let mut model = Model::new(window, pieces, false);
        for step in steps {
            model.step(step);
            let bound = u64::from(window) + pieces - 1; // of a message that is not complete, the pieces are used up
            prop_assert!(model.in_flight() <= bound, "{} under way, window {window}", model.in_flight());
        }
        model.come_to_rest(MESSAGES);
        let expected: Vec<u64> = (1..=model.produced).collect();
        prop_assert!(model.produced >= MESSAGES);
        prop_assert_eq!(model.handled, expected);
    }

    #[test]
    fn a_consumer_that_crashes_gets_everything_once_at_least(
        window in 1u32..6,
        pieces in 1u64..4,
        steps in prop::collection::vec(any_step(true), 0..400),
    ) {
        let mut model = Model::new(window, pieces, false);
        for step in steps {
            model.step(step);
        }
        model.come_to_rest(MESSAGES);
        let mut highest = 0;
        for number in model.handled {
            prop_assert!(number <= highest + 1, "{} after {}", number, highest);
            highest = highest.max(number);
        }
        prop_assert!(model.produced >= MESSAGES);
        prop_assert_eq!(highest, model.produced);
    }

    #[test]
    fn with_flow_control_only_the_order_is_kept_and_the_stream_goes_on(
        window in 1u32..6,
        pieces in 1u64..4,
        steps in prop::collection::vec(any_step(false), 0..400),
    ) {
        let mut model = Model::new(window, pieces, true);
        for step in steps {
            model.step(step);
        }
        let produced = model.produced;
        model.come_to_rest(produced + MESSAGES);
        prop_assert!(model.produced >= produced + MESSAGES, "stuck at {}", model.produced);
        prop_assert!(model.handled.is_sorted_by(|earlier, later| earlier < later), "{:?}", model.handled);
        prop_assert_eq!(model.handled.last(), Some(&model.produced));
    }
}

#[test]
fn what_was_meant_for_an_earlier_life_of_the_producer_is_ignored() {
    let mut producer = ProducerState::new(Incarnation::of(1, 2), 1);
    producer.connect();
    producer.push(cut(1, 1), false);
    let consumer = Incarnation::of(2, 1);
    let (confirmed, up_to) = (1, 50);
    let request =
        Request { producer: PRODUCER, consumer, confirmed, up_to, support_resend: true, silent_from: Some(1) };
    assert!(producer.request(request).is_empty());
    assert!(producer.ack(Ack { producer: PRODUCER, confirmed }).is_empty());
    assert!(producer.resend(Resend { producer: PRODUCER, consumer, from: 1 }).is_empty());
    assert_eq!(producer.confirmed(), 0);
}

#[test]
fn what_is_missing_is_asked_for_again_while_the_consumer_is_at_work() {
    let mut model = Model::new(10, 1, false);
    model.step(Step::Register);
    for _ in 0..3 {
        model.step(Step::Produce);
        model.step(Step::ToConsumer(0, false));
        model.step(Step::ToProducer(0, false));
    }
    assert_eq!(model.at_work, Some((PRODUCER, 1)));
    model.step(Step::Produce);
    model.step(Step::LoseToConsumer(0));
    model.step(Step::Produce);
    model.step(Step::ToConsumer(0, false));
    model.to_producer.clear(); // the question for what is missing is lost

    model.step(Step::Retry);

    let asked = model.to_producer.iter().any(|answer| matches!(answer, Answer::Resend(resend) if resend.from == 4));
    assert!(asked, "it is not idle, and still asks");
}
