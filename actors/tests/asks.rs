//! Asks of several actors at once, and answers that say no.

use std::time::Duration;

use actors::testkit::{TestKit, TestProbe};
use actors::{
    Actor, ActorContext, ActorRef, AskError, AskWithStatusError, Behavior, FnActor, Handled, NotEnoughAnswers, Props,
    ReplyTo, StatusError, SupervisorStrategy, ask_all, ask_first, ask_hedged,
};

const WITHIN: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// What an oracle does with each question.
#[derive(Clone, Copy)]
enum Manner {
    Answers(&'static str),
    AnswersAfter(Duration, &'static str),
    Keeps,
    Drops,
    DropsAfter(Duration),
}
use Manner::{Answers, AnswersAfter, Drops, DropsAfter, Keeps};

enum OracleMessage {
    Question(ReplyTo<&'static str>),
    /// Whether the first question it kept has still somebody who waits.
    IsAwaited(ReplyTo<bool>),
    HowMany(ReplyTo<usize>),
    Stop,
}
use OracleMessage::{HowMany, IsAwaited, Question};

struct Oracle {
    manner: Manner,
    kept: Vec<ReplyTo<&'static str>>,
    asked: usize,
}

impl Actor for Oracle {
    type Message = OracleMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<OracleMessage>, message: OracleMessage) -> Handled {
        match message {
            Question(reply_to) => {
                self.asked += 1;
                match self.manner {
                    Answers(answer) => reply_to.tell(answer),
                    AnswersAfter(delay, answer) => {
                        let clock = ctx.clock().clone();
                        ctx.spawn_task(async move {
                            clock.sleep(delay).await;
                            reply_to.tell(answer);
                        });
                    }
                    Keeps => self.kept.push(reply_to),
                    Drops => drop(reply_to),
                    DropsAfter(delay) => {
                        let clock = ctx.clock().clone();
                        ctx.spawn_task(async move {
                            clock.sleep(delay).await;
                            drop(reply_to);
                        });
                    }
                }
            }
            IsAwaited(reply_to) => reply_to.tell(self.kept.first().is_some_and(|kept| !kept.is_closed())),
            HowMany(reply_to) => reply_to.tell(self.asked),
            OracleMessage::Stop => return Ok(Behavior::Stopped),
        }
        Ok(Behavior::Same)
    }
}

type Oracles = Vec<ActorRef<OracleMessage>>;

fn oracles<const N: usize>(kit: &TestKit, manners: [Manner; N]) -> Oracles {
    let spawn = |manner| kit.system().spawn_anonymous(Oracle { manner, kept: Vec::new(), asked: 0 });
    manners.map(spawn).into()
}

/// How often each was asked.
fn asked(kit: &TestKit, oracles: &Oracles) -> Vec<usize> {
    kit.block_on(ask_all(oracles, HowMany, WITHIN)).unwrap()
}

/// What `future` comes to, and how long that takes.
fn timed<T>(kit: &TestKit, future: impl Future<Output = T>) -> (T, Duration) {
    let before = kit.clock().now();
    let output = kit.block_on(future);
    (output, kit.clock().now() - before)
}

#[test]
fn all_answers_come_in_the_order_of_the_targets() {
    let kit = TestKit::new();
    let oracles = oracles(&kit, [AnswersAfter(SECOND * 2, "late"), Answers("at once"), AnswersAfter(SECOND, "soon")]);
    let (answers, took) = timed(&kit, ask_all(&oracles, Question, WITHIN));
    assert_eq!((answers, took), (Ok(vec!["late", "at once", "soon"]), SECOND * 2));
}

#[test]
fn asking_nobody_is_answered_at_once() {
    let kit = TestKit::new();
    let nobody: [ActorRef<OracleMessage>; 0] = [];
    assert_eq!(kit.block_on(ask_all(&nobody, Question, WITHIN)), Ok(vec![]));
    assert_eq!(kit.block_on(ask_first(0, &nobody, Question, WITHIN)), Ok(vec![]));
    let none = kit.block_on(ask_hedged(&nobody, Question, SECOND, WITHIN));
    assert_eq!(none, Err(NotEnoughAnswers { wanted: 1, answers: vec![], errors: vec![] }));
}

#[test]
fn if_one_of_all_has_no_answer_every_error_is_known_and_no_answer_is_lost() {
    let kit = TestKit::new();
    let oracles = oracles(&kit, [Answers("a"), Drops, Keeps, AnswersAfter(SECOND, "d"), Answers("stopped")]);
    oracles[4].tell(OracleMessage::Stop);
    let (outcome, took) = timed(&kit, ask_all(&oracles, Question, WITHIN));
    let failed = outcome.unwrap_err();
    assert_eq!(took, WITHIN, "one deadline for all");
    assert_eq!((failed.wanted, &failed.answers), (5, &vec![(0, "a"), (3, "d")]));
    assert_eq!(failed.errors, [(1, AskError::NoReply), (2, AskError::Timeout), (4, AskError::Stopped)]);
    let text = "2 of the 5 answers needed came; target 1: the question was dropped without an answer, \
                target 2: no answer within the time given, target 4: the actor has stopped";
    assert_eq!(failed.to_string(), text);
}

#[test]
fn the_first_answers_win_and_the_others_are_given_up() {
    let kit = TestKit::new();
    let oracles = oracles(&kit, [Keeps, AnswersAfter(SECOND * 2, "second"), Drops, AnswersAfter(SECOND, "first")]);
    let mut asking = ask_first(2, &oracles, Question, WITHIN);
    let (answers, took) = timed(&kit, &mut asking); // lives on: being dropped is not what gives the others up
    assert_eq!((answers, took), (Ok(vec![(3, "first"), (1, "second")]), SECOND * 2));
    assert!(!kit.block_on(oracles[0].ask(IsAwaited, WITHIN)).unwrap());
}

#[test]
fn too_few_that_can_still_answer_are_an_error_at_once() {
    let kit = TestKit::new();
    let oracles = oracles(&kit, [Drops, Answers("only"), Keeps, Drops]);
    let mut asking = ask_first(3, &oracles, Question, WITHIN);
    let (outcome, took) = timed(&kit, &mut asking);
    let failed = outcome.unwrap_err();
    assert_eq!((took, failed.wanted, failed.answers), (Duration::ZERO, 3, vec![(1, "only")]));
    assert_eq!(failed.errors, [(0, AskError::NoReply), (3, AskError::NoReply)]);
    assert!(!kit.block_on(oracles[2].ask(IsAwaited, WITHIN)).unwrap());
}

#[test]
fn more_answers_than_targets_are_not_asked_for() {
    let kit = TestKit::new();
    let oracles = oracles(&kit, [Answers("a"), Answers("b")]);
    let failed = kit.block_on(ask_first(3, &oracles, Question, WITHIN)).unwrap_err();
    assert_eq!((failed.wanted, failed.errors), (3, vec![]));
    assert_eq!(asked(&kit, &oracles), [0, 0]);
}

#[test]
fn a_second_target_is_asked_only_if_the_first_takes_too_long() {
    let kit = TestKit::new();
    let quick = oracles(&kit, [AnswersAfter(SECOND, "first"), Answers("second")]);
    let hedged = ask_hedged(&quick, Question, SECOND * 2, WITHIN);
    assert_eq!(timed(&kit, hedged), (Ok("first"), SECOND));
    assert_eq!(asked(&kit, &quick), [1, 0]);

    let slow = oracles(&kit, [Keeps, AnswersAfter(SECOND, "second"), Answers("third")]);
    let mut hedged = ask_hedged(&slow, Question, SECOND * 2, WITHIN);
    assert_eq!(timed(&kit, &mut hedged), (Ok("second"), SECOND * 3));
    assert_eq!(asked(&kit, &slow), [1, 1, 0]);
    assert!(!kit.block_on(slow[0].ask(IsAwaited, WITHIN)).unwrap(), "the loser is given up");
}

#[test]
fn the_first_target_may_still_win_after_the_second_was_asked() {
    let kit = TestKit::new();
    let oracles = oracles(&kit, [AnswersAfter(SECOND * 3, "first"), AnswersAfter(SECOND * 5, "second")]);
    let hedged = ask_hedged(&oracles, Question, SECOND, WITHIN);
    assert_eq!(timed(&kit, hedged), (Ok("first"), SECOND * 3));
}

#[test]
fn a_try_that_fails_is_replaced_at_once_and_the_delay_begins_anew() {
    let kit = TestKit::new();
    let oracles = oracles(&kit, [DropsAfter(SECOND), Keeps, Answers("third")]);
    let hedged = ask_hedged(&oracles, Question, SECOND * 2, WITHIN);
    assert_eq!(timed(&kit, hedged), (Ok("third"), SECOND * 3));
}

#[test]
fn hedging_ends_at_its_deadline_or_when_all_have_failed() {
    let kit = TestKit::new();
    let silent = oracles(&kit, [Keeps, Keeps, Answers("never asked")]);
    let (outcome, took) = timed(&kit, ask_hedged(&silent, Question, SECOND * 6, WITHIN));
    let errors = vec![(0, AskError::Timeout), (1, AskError::Timeout)];
    assert_eq!((outcome, took), (Err(NotEnoughAnswers { wanted: 1, answers: vec![], errors }), WITHIN));
    assert_eq!(asked(&kit, &silent), [1, 1, 0]);

    let failing = oracles(&kit, [Drops, Drops]);
    let (outcome, took) = timed(&kit, ask_hedged(&failing, Question, SECOND, WITHIN));
    assert_eq!((outcome.unwrap_err().errors.len(), took), (2, Duration::ZERO));
}

#[test]
fn a_dropped_hedge_asks_nobody_any_more() {
    let kit = TestKit::new();
    let oracles = oracles(&kit, [Keeps, Answers("second")]);
    let hedged = ask_hedged(&oracles, Question, SECOND, WITHIN);
    assert!(kit.block_on(kit.clock().timeout(SECOND / 2, hedged)).is_err());
    kit.advance(WITHIN);
    assert_eq!(asked(&kit, &oracles), [1, 0]);
}

/// Asks from inside, tells the test what came of it and serves all the while.
struct Asker {
    oracles: Oracles,
    told: ActorRef<String>,
}

enum AskerMessage {
    AskAll,
    AskFirst,
    AskHedged,
    Fail,
    Note(&'static str),
    All(Result<Vec<&'static str>, NotEnoughAnswers<&'static str>>),
    First(Result<Vec<(usize, &'static str)>, NotEnoughAnswers<&'static str>>),
    Hedged(Result<&'static str, NotEnoughAnswers<&'static str>>),
}
use AskerMessage::{AskAll, AskFirst, AskHedged, Fail, Note};

impl Actor for Asker {
    type Message = AskerMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<AskerMessage>, message: AskerMessage) -> Handled {
        match message {
            AskAll => ctx.ask_all(&self.oracles, Question, WITHIN, AskerMessage::All),
            AskFirst => ctx.ask_first(2, &self.oracles, Question, WITHIN, AskerMessage::First),
            AskHedged => ctx.ask_hedged(&self.oracles, Question, SECOND, WITHIN, AskerMessage::Hedged),
            Fail => return Err("told to".into()),
            Note(text) => self.told.tell(text.to_owned()),
            AskerMessage::All(outcome) => self.told.tell(format!("{outcome:?}")),
            AskerMessage::First(outcome) => self.told.tell(format!("{outcome:?}")),
            AskerMessage::Hedged(outcome) => self.told.tell(format!("{outcome:?}")),
        }
        Ok(Behavior::Same)
    }
}

fn asker<const N: usize>(kit: &TestKit, manners: [Manner; N]) -> (ActorRef<AskerMessage>, TestProbe<String>) {
    let probe = kit.probe();
    let (oracles, told) = (oracles(kit, manners), probe.actor_ref());
    let props = Props::new(move || Asker { oracles: oracles.clone(), told: told.clone() });
    (kit.spawn("asker", props.supervise(SupervisorStrategy::restart())), probe)
}

#[test]
fn inside_an_actor_the_outcome_is_one_message_and_the_actor_serves_meanwhile() {
    let kit = TestKit::new();
    let (asker, mut probe) = asker(&kit, [AnswersAfter(SECOND * 2, "a"), AnswersAfter(SECOND * 3, "b")]);
    for message in [AskAll, AskFirst, AskHedged, Note("meanwhile")] {
        asker.tell(message);
    }
    kit.advance(WITHIN * 2);
    let outcomes = ["meanwhile", "Ok(\"a\")", "Ok([\"a\", \"b\"])", "Ok([(0, \"a\"), (1, \"b\")])"];
    let mut told = probe.drain();
    told[2..].sort(); // both are known at the same moment
    assert_eq!(told, [outcomes[0], outcomes[1], outcomes[2], outcomes[3]]);
}

#[test]
fn inside_an_actor_the_outcome_belongs_to_the_life_that_asked() {
    let kit = TestKit::new();
    let (asker, mut probe) = asker(&kit, [AnswersAfter(SECOND, "a"), AnswersAfter(SECOND, "b")]);
    for message in [AskAll, AskFirst, AskHedged, Fail] {
        asker.tell(message);
    }
    kit.advance(WITHIN * 2);
    assert_eq!(probe.drain(), [""; 0]);
}

#[test]
fn an_actor_that_awaits_an_answer_of_itself_among_others_learns_that_it_goes_in_a_circle() {
    enum Me {
        Ask(Oracles, ReplyTo<Vec<(usize, AskError)>>),
        Question(ReplyTo<&'static str>),
    }
    struct AsksItself;
    impl Actor for AsksItself {
        type Message = Me;
        async fn receive(&mut self, ctx: &mut ActorContext<Me>, message: Me) -> Handled {
            match message {
                Me::Ask(oracles, reply_to) => {
                    let me = ctx.this().map(|OnlyQuestion(question)| Me::Question(question));
                    let others = oracles.iter().map(|oracle| oracle.map(|OnlyQuestion(question)| Question(question)));
                    let targets: Vec<_> = others.chain([me]).collect();
                    let outcome = ask_all(&targets, OnlyQuestion, WITHIN).await;
                    reply_to.tell(outcome.unwrap_err().errors);
                }
                Me::Question(reply_to) => reply_to.tell("me"),
            }
            Ok(Behavior::Same)
        }
    }
    struct OnlyQuestion(ReplyTo<&'static str>);

    let kit = TestKit::new();
    let oracles = oracles(&kit, [AnswersAfter(SECOND, "other")]);
    let actor = kit.spawn("actor", AsksItself);
    let errors = timed(&kit, actor.ask(|reply_to| Me::Ask(oracles, reply_to), WITHIN));
    assert_eq!(errors, (Ok(vec![(1, AskError::Cycle)]), SECOND));
}

enum Till {
    Take(i64, ReplyTo<Result<i64, StatusError>>),
    /// Asks the other till and tells the outcome.
    TakeElsewhere(ActorRef<Till>, ActorRef<Result<i64, AskWithStatusError>>),
    Taken(Result<i64, AskWithStatusError>, ActorRef<Result<i64, AskWithStatusError>>),
}

fn till(kit: &TestKit, name: &str) -> ActorRef<Till> {
    let till = FnActor::new(100, |left: &mut i64, ctx, message| {
        match message {
            Till::Take(0, reply_to) => drop(reply_to),
            Till::Take(sum, reply_to) if sum > *left => {
                reply_to.refuse(StatusError::new(format!("only {left} left")).with_code(402));
            }
            Till::Take(sum, reply_to) => {
                *left -= sum;
                reply_to.succeed(*left);
            }
            Till::TakeElsewhere(till, told) => {
                ctx.ask_with_status(&till, |to| Till::Take(200, to), WITHIN, |outcome| Till::Taken(outcome, told));
            }
            Till::Taken(outcome, told) => told.tell(outcome),
        }
        Ok(Behavior::Same)
    });
    kit.spawn(name, till)
}

#[test]
fn a_refusal_is_an_error_with_a_text_and_a_code() {
    let kit = TestKit::new();
    let till = till(&kit, "till");
    let take = |sum| kit.block_on(till.ask_with_status(move |reply_to| Till::Take(sum, reply_to), WITHIN));
    assert_eq!(take(30), Ok(70));
    let Err(AskWithStatusError::Refused(refused)) = take(71) else { panic!("only 70 are left") };
    assert_eq!((refused.text(), refused.code()), ("only 70 left", Some(402)));
    assert_eq!(refused.to_string(), "only 70 left (code 402)");
    assert_eq!(StatusError::new("closed").to_string(), "closed");
    assert_eq!(take(0), Err(AskWithStatusError::NoAnswer(AskError::NoReply)));
}

#[test]
fn a_refusal_comes_back_to_an_actor_that_asked() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    till(&kit, "here").tell(Till::TakeElsewhere(till(&kit, "there"), probe.actor_ref()));
    let refused = StatusError::new("only 100 left").with_code(402);
    assert_eq!(probe.drain(), [Err(AskWithStatusError::Refused(refused))]);
}
