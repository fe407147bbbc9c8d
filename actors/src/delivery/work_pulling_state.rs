//! Which worker gets what, and what becomes of a dead worker's. Pure.
//!
//! Each worker has a link of its own, with numbers of its own; a job keeps its number on every link.
//!
//! Invariant: each job that is not confirmed is either waiting or with exactly one worker.

use std::collections::{BTreeMap, VecDeque};

use super::producer_state::{Kept, ProducerEffect, ProducerState};
use super::protocol::{Ack, Incarnation, Payload, Request, Resend};

/// Which worker; never used again for another.
pub(super) type WorkerId = u64;

pub(super) struct WorkPullingState<T> {
    workers: BTreeMap<WorkerId, Worker<T>>,
    hired: u64,
    waiting: VecDeque<Job<T>>,
    buffer: usize,
    asked: bool,
}

struct Worker<T> {
    link: ProducerState<T>,
    has_demand: bool,
    /// With the number of its last piece on this link.
    jobs: VecDeque<(u64, Job<T>)>,
}

pub(super) struct Job<T> {
    pub(super) number: u64,
    pub(super) payloads: Vec<Payload<T>>,
    pub(super) ack: bool,
}

/// What a worker's controller says.
pub(super) enum Answer {
    Request(Request),
    Resend(Resend),
    Ack(Ack),
    Register(Incarnation),
    /// The first of its link was not confirmed for a while.
    FirstOverdue,
}

/// What the actor beside it carries out, in order.
pub(super) enum WorkEffect<T> {
    Send {
        worker: WorkerId,
        seq_nr: u64,
        first: bool,
        kept: Kept<T>,
    },
    /// A job is done; `lost`: it may be, with a worker that has flow control only.
    Done {
        number: u64,
        lost: bool,
    },
    RequestNext,
}

type Effects<T> = Vec<WorkEffect<T>>;

impl<T> WorkPullingState<T> {
    pub(super) fn new(buffer: usize) -> Self {
        Self { workers: BTreeMap::new(), hired: 0, waiting: VecDeque::new(), buffer, asked: false }
    }

    pub(super) fn workers(&self) -> usize {
        self.workers.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn with_workers(&self) -> usize {
        self.workers.values().map(|worker| worker.jobs.len()).sum()
    }

    /// The first of this worker's link is under way and not confirmed.
    pub(super) fn awaits_first(&self, worker: WorkerId) -> bool {
        self.workers.get(&worker).is_some_and(|worker| worker.link.awaits_first())
    }

    /// A new worker; `link` names the life of its link. `random` gives numbers from 0 to below 1.
    pub(super) fn hire(&mut self, link: Incarnation, random: &mut dyn FnMut() -> f64) -> (WorkerId, Effects<T>) {
        self.hired += 1;
        let id = self.hired;
        let worker = Worker { link: ProducerState::new(link, 1), has_demand: false, jobs: VecDeque::new() };
        let effects = self.workers.entry(id).or_insert(worker).link.connect();
        let effects = self.worker_does(id, effects);
        (id, self.go_on(effects, random))
    }

    /// A worker is gone. What it has not confirmed goes to others, before anything newer.
    pub(super) fn dismiss(&mut self, worker: WorkerId, random: &mut dyn FnMut() -> f64) -> Effects<T> {
        if let Some(worker) = self.workers.remove(&worker) {
            for (_, job) in worker.jobs.into_iter().rev() {
                self.waiting.push_front(job);
            }
        }
        self.go_on(Vec::new(), random)
    }

    /// Takes the next job.
    pub(super) fn submit(&mut self, job: Job<T>, random: &mut dyn FnMut() -> f64) -> Effects<T> {
        self.asked = false;
        self.waiting.push_back(job);
        self.go_on(Vec::new(), random)
    }

    /// The producer was never asked, or has lost what it was asked.
    pub(super) fn ask_again(&mut self, random: &mut dyn FnMut() -> f64) -> Effects<T> {
        self.asked = false;
        self.go_on(Vec::new(), random)
    }

    pub(super) fn answered(&mut self, worker: WorkerId, answer: Answer, random: &mut dyn FnMut() -> f64) -> Effects<T> {
        let Some(Worker { link, .. }) = self.workers.get_mut(&worker) else {
            return Vec::new(); // it was taken for dead: its jobs are with others
        };
        let effects = match answer {
            Answer::Request(request) => link.request(request),
            Answer::Resend(resend) => link.resend(resend),
            Answer::Ack(ack) => link.ack(ack),
            Answer::Register(life) => link.register(life),
            Answer::FirstOverdue => link.resend_first(),
        };
        let effects = self.worker_does(worker, effects);
        self.go_on(effects, random)
    }

    fn worker_does(&mut self, id: WorkerId, effects: Vec<ProducerEffect<T>>) -> Effects<T> {
        let Some(worker) = self.workers.get_mut(&id) else { return Vec::new() };
        let mut done = Vec::new();
        for effect in effects {
            match effect {
                ProducerEffect::Send { seq_nr, first, kept } => {
                    done.push(WorkEffect::Send { worker: id, seq_nr, first, kept });
                }
                ProducerEffect::Confirmed { up_to, exactly } => {
                    while let Some((seq_nr, job)) = worker.jobs.pop_front_if(|(seq_nr, _)| *seq_nr <= up_to) {
                        done.push(WorkEffect::Done { number: job.number, lost: exactly && seq_nr < up_to });
                    }
                }
                ProducerEffect::RequestNext => worker.has_demand = true,
            }
        }
        done
    }

    /// Gives out what can be given out, then asks for more while there is room.
    fn go_on(&mut self, mut effects: Effects<T>, random: &mut dyn FnMut() -> f64) -> Effects<T> {
        let mut free: Vec<WorkerId> =
            self.workers.iter().filter(|(_, worker)| worker.has_demand).map(|(id, _)| *id).collect();
        while !free.is_empty()
            && let Some(job) = self.waiting.pop_front()
        {
            let which = ((random() * free.len() as f64) as usize).min(free.len() - 1);
            let id = free[which];
            effects.extend(self.give(id, job));
            if !self.workers.get(&id).is_some_and(|worker| worker.has_demand) {
                free.swap_remove(which);
            }
        }
        if !self.asked && self.waiting.len() < self.buffer {
            self.asked = true;
            effects.push(WorkEffect::RequestNext);
        }
        effects
    }

    fn give(&mut self, id: WorkerId, job: Job<T>) -> Effects<T> {
        let Some(worker) = self.workers.get_mut(&id) else { return Vec::new() };
        worker.has_demand = false;
        let last = worker.link.next() + job.payloads.len() as u64 - 1;
        let effects = worker.link.push(job.payloads.iter().cloned(), job.ack);
        worker.jobs.push_back((last, job));
        self.worker_does(id, effects)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Hire,
        Dismiss(usize),
        Submit,
        /// A worker has finished so many of what it got.
        Finish(usize, u64),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            1 => Just(Step::Hire),
            1 => (0usize..4).prop_map(Step::Dismiss),
            6 => Just(Step::Submit),
            4 => (0usize..4, 1u64..4).prop_map(|(which, jobs)| Step::Finish(which, jobs)),
        ]
    }

    struct Model {
        state: WorkPullingState<u64>,
        ids: Vec<(WorkerId, Incarnation)>,
        lives: u64,
        asked: bool,
        submitted: u64,
        done: BTreeSet<u64>,
        got: BTreeMap<WorkerId, (u64, u64)>, // sent to it, finished by it
        draws: u64,
    }

    impl Model {
        const WINDOW: u64 = 3;
        const BUFFER: usize = 5;

        fn random(draws: &mut u64) -> f64 {
            *draws = draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (*draws >> 11) as f64 / (1_u64 << 53) as f64
        }

        fn step(&mut self, step: Step) {
            let mut draws = self.draws;
            let random = &mut || Self::random(&mut draws);
            let effects = match step {
                Step::Hire => {
                    self.lives += 1;
                    let link = Incarnation::of(1, self.lives);
                    let (id, effects) = self.state.hire(link, random);
                    self.ids.push((id, link));
                    self.got.insert(id, (0, 0));
                    effects
                }
                Step::Dismiss(which) if which < self.ids.len() => {
                    let (id, _) = self.ids.swap_remove(which);
                    self.got.remove(&id);
                    self.state.dismiss(id, random)
                }
                Step::Submit if self.asked => {
                    self.asked = false;
                    self.submitted += 1;
                    let payloads = vec![Payload::Whole(Arc::new(self.submitted))];
                    self.state.submit(Job { number: self.submitted, payloads, ack: false }, random)
                }
                Step::Finish(which, jobs) if which < self.ids.len() => {
                    let (id, link) = self.ids[which];
                    let (sent, finished) = self.got.get_mut(&id).unwrap();
                    *finished = (*finished + jobs).min(*sent);
                    let confirmed = *finished;
                    let request = Request {
                        producer: link,
                        consumer: Incarnation::of(2, id),
                        confirmed,
                        up_to: confirmed + Self::WINDOW,
                        support_resend: true,
                        silent_from: None,
                    };
                    self.state.answered(id, Answer::Request(request), random)
                }
                _ => Vec::new(),
            };
            self.draws = draws;
            for effect in effects {
                match effect {
                    WorkEffect::Send { worker, seq_nr, .. } => {
                        let (sent, finished) = self.got.get_mut(&worker).expect("nothing goes to the dead");
                        *sent = (*sent).max(seq_nr);
                        assert!(*sent - *finished <= Self::WINDOW);
                    }
                    WorkEffect::Done { number, .. } => assert!(self.done.insert(number), "{number} is done twice"),
                    WorkEffect::RequestNext => self.asked = true,
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_job_is_done_once_whoever_dies(steps in prop::collection::vec(any_step(), 0..200), draws: u64) {
            let mut model = Model {
                state: WorkPullingState::new(Model::BUFFER),
                ids: Vec::new(),
                lives: 0,
                asked: true,
                submitted: 0,
                done: BTreeSet::new(),
                got: BTreeMap::new(),
                draws,
            };
            for step in steps {
                model.step(step);
                let kept = model.state.waiting() + model.state.with_workers();
                prop_assert_eq!(kept + model.done.len(), model.submitted as usize);
                prop_assert!(model.asked || model.state.waiting() >= Model::BUFFER);
            }
            model.step(Step::Hire);
            for _ in 0..model.submitted {
                (0..model.ids.len()).for_each(|which| model.step(Step::Finish(which, 1)));
            }
            prop_assert_eq!(model.done.len() as u64, model.submitted);
        }
    }

    #[test]
    fn a_dead_worker_s_jobs_go_first_and_in_order() {
        let mut state = WorkPullingState::<u64>::new(10);
        let random = &mut || 0.0;
        let (dying, _) = state.hire(Incarnation::of(1, 1), random);
        let request = |producer, confirmed, up_to| {
            let consumer = Incarnation::of(2, 1);
            Answer::Request(Request { producer, consumer, confirmed, up_to, support_resend: true, silent_from: None })
        };
        for number in 1..=5 {
            state.submit(Job { number, payloads: vec![Payload::Whole(Arc::new(number))], ack: false }, random);
        }
        state.answered(dying, request(Incarnation::of(1, 1), 0, 3), random);
        state.answered(dying, request(Incarnation::of(1, 1), 1, 3), random);
        assert_eq!((state.with_workers(), state.waiting()), (2, 2));

        state.dismiss(dying, random);
        let (_, effects) = state.hire(Incarnation::of(1, 2), random);
        let late = state.answered(dying, request(Incarnation::of(1, 1), 3, 6), random);

        assert!(late.is_empty(), "the dead say nothing");
        let sent: Vec<u64> = effects
            .iter()
            .filter_map(|effect| match effect {
                WorkEffect::Send { kept: Kept { payload: Payload::Whole(number), .. }, .. } => Some(**number),
                _ => None,
            })
            .collect();
        assert_eq!(sent, [2]);
        assert_eq!(state.waiting.iter().map(|job| job.number).collect::<Vec<_>>(), [3, 4, 5]);
    }
}
