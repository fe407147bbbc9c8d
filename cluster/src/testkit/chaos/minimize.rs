//! [`minimize`]: the same failure with less trouble.

use super::{
    plan::Plan,
    run::{Failure, RunOptions, run},
};

/// A plan with as little trouble as can be found that breaks the same promise as `plan`: without kinds of faults, then
/// without single faults, then with fewer nodes. Tells `tried` about each smaller plan that still fails. Returns `plan`
/// itself, and no failure, if it breaks none.
pub fn minimize(plan: &Plan, mut tried: impl FnMut(&Plan, &Failure)) -> (Plan, Option<Failure>) {
    let options = RunOptions::default();
    let Some(mut failure) = run(plan, &options).failure else { return (plan.clone(), None) };
    let mut least = plan.clone();
    let mut try_this = |smaller: Plan, least: &mut Plan| {
        let fails = run(&smaller, &options).failure.filter(|new| new.promise == failure.promise);
        let Some(new) = fails else { return false };
        tried(&smaller, &new);
        failure = new;
        *least = smaller;
        true
    };
    loop {
        let before = least.clone();
        for kind in before.kinds.clone() {
            try_this(least.without(kind), &mut least);
        }
        let mut piece = least.faults.len().div_ceil(2);
        while piece > 0 {
            let mut from = 0;
            while from < least.faults.len() {
                let mut smaller = least.clone();
                smaller.faults.drain(from..(from + piece).min(least.faults.len()));
                if !try_this(smaller, &mut least) {
                    from += piece;
                }
            }
            piece /= 2;
        }
        while least.nodes > 2 && try_this(least.with_a_node_less(), &mut least) {}
        if least == before {
            return (least, Some(failure));
        }
    }
}
