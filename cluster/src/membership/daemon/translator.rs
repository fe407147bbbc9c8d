//! [`Translator`]: what SWIM says, as the members' table wants to hear it.
//!
//! SWIM knows generations of lives, the table only lives. SWIM says each thing once, the table wants those that are alive
//! named again whenever it may have taken them for dead. And while it is this node that is sick, what it says against others
//! waits: until it is well, until two others say the same, or for ten seconds.

use crate::{
    member::{Address, UniqueAddress},
    membership::{
        news::News,
        swim::{self, Identity},
    },
};
use actors::Tick;
use std::{collections::BTreeMap, time::Duration};

/// How long an accusation waits at most. All that others are given to answer was lengthened before.
const HELD_FOR: Duration = Duration::from_secs(10);

/// Addresses whose lives are remembered.
const LIVES_MAX: usize = 16_384;

/// So many others that say the same are enough.
const ENOUGH_OTHERS: usize = 2;

#[derive(Debug, Default)]
pub(super) struct Translator {
    /// The life that was alive last at each address.
    lives: BTreeMap<Address, Identity>,
    /// Who does not answer, and since when that is held back.
    held: BTreeMap<UniqueAddress, Tick>,
}

impl Translator {
    /// What to tell. `alive` are those that are alive now.
    pub(super) fn take<'a>(
        &mut self,
        news: swim::News,
        alive: impl Iterator<Item = &'a Identity>,
        now: Tick,
    ) -> Vec<News> {
        match news {
            swim::News::Alive(life) => {
                let mut told = Vec::new();
                if let Some(before) = self.lives.get(&life.address)
                    && before.uid != life.uid
                    && (before.start, before.uid) < (life.start, life.uid)
                {
                    told.push(News::Replaced { old: node(before), new: node(&life) });
                }
                told.push(self.alive(&life));
                told
            }
            swim::News::Unreachable(life) => {
                self.held.entry(node(&life)).or_insert(now);
                Vec::new()
            }
            swim::News::Replaced { old, new } => {
                let told = News::Replaced { old: node(&old), new: node(&new) };
                self.held.remove(&node(&old));
                self.remember(&new);
                vec![told]
            }
            swim::News::Connected => {
                let again: Vec<News> = alive.map(|life| News::Alive(node(life))).collect();
                std::iter::once(News::Connected).chain(again).collect()
            }
            swim::News::Alone => {
                self.held.clear();
                let again: Vec<News> = alive.map(|life| News::Alive(node(life))).collect();
                std::iter::once(News::Alone).chain(again).collect()
            }
            // The same life goes on. The daemon acts on the end of one.
            swim::News::Renewed(_) | swim::News::Defunct => Vec::new(),
        }
    }

    /// What need not wait any longer. `others` says how many other nodes cannot reach a life either.
    pub(super) fn release(&mut self, is_well: bool, others: impl Fn(u64) -> usize, now: Tick) -> Vec<News> {
        let over = |node: &UniqueAddress, since: &mut Tick| {
            is_well || now - *since >= HELD_FOR || others(node.uid) >= ENOUGH_OTHERS
        };
        self.held.extract_if(.., over).map(|(node, _)| News::Unreachable(node)).collect()
    }

    /// When something that is held back must be told.
    pub(super) fn due(&self) -> Option<Tick> {
        self.held.values().min().map(|since| *since + HELD_FOR)
    }

    fn alive(&mut self, life: &Identity) -> News {
        self.held.remove(&node(life));
        self.remember(life);
        News::Alive(node(life))
    }

    fn remember(&mut self, life: &Identity) {
        if self.lives.len() < LIVES_MAX || self.lives.contains_key(&life.address) {
            self.lives.insert(life.address.clone(), life.clone());
        }
    }
}

fn node(life: &Identity) -> UniqueAddress {
    UniqueAddress { address: life.address.clone(), uid: life.uid }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(uid: u64, start: u64) -> Identity {
        Identity { address: "n:1".parse().unwrap(), uid, start, generation: 0 }
    }

    fn at(secs: u64) -> Tick {
        Tick::START + Duration::from_secs(secs)
    }

    fn take(translator: &mut Translator, news: swim::News) -> Vec<News> {
        translator.take(news, [].into_iter(), at(0))
    }

    #[test]
    fn a_later_life_replaces_an_earlier_one_though_nobody_says_so() {
        let mut translator = Translator::default();
        assert_eq!(take(&mut translator, swim::News::Alive(life(7, 1))), [News::Alive(node(&life(7, 1)))]);
        take(&mut translator, swim::News::Unreachable(life(7, 1)));
        let told = take(&mut translator, swim::News::Alive(life(5, 2)));
        let replaced = News::Replaced { old: node(&life(7, 1)), new: node(&life(5, 2)) };
        assert_eq!(told, [replaced, News::Alive(node(&life(5, 2)))]);
        let renewed = Identity { generation: 4, ..life(5, 2) };
        assert_eq!(take(&mut translator, swim::News::Alive(renewed)), [News::Alive(node(&life(5, 2)))]);
        let earlier = take(&mut translator, swim::News::Alive(life(9, 1)));
        assert_eq!(earlier, [News::Alive(node(&life(9, 1)))], "it is no later one: others decide");
    }

    #[test]
    fn a_sick_node_accuses_nobody_alone_and_not_for_ever() {
        let mut translator = Translator::default();
        let lost = News::Unreachable(node(&life(7, 1)));
        assert!(take(&mut translator, swim::News::Unreachable(life(7, 1))).is_empty());
        assert!(translator.release(false, |_| 1, at(1)).is_empty());
        assert_eq!(translator.due(), Some(at(10)));
        assert_eq!(translator.release(false, |_| 2, at(1)), std::slice::from_ref(&lost));
        take(&mut translator, swim::News::Unreachable(life(7, 1)));
        assert_eq!(translator.release(true, |_| 0, at(1)), std::slice::from_ref(&lost));
        take(&mut translator, swim::News::Unreachable(life(7, 1)));
        assert_eq!(translator.release(false, |_| 0, at(10)), [lost]);
        take(&mut translator, swim::News::Unreachable(life(7, 1)));
        take(&mut translator, swim::News::Alive(life(7, 1)));
        assert!(translator.release(true, |_| 0, at(99)).is_empty(), "it answered after all");
    }

    #[test]
    fn those_that_are_alive_are_named_again_when_the_table_may_have_lost_them() {
        let alive = [life(7, 1)];
        for news in [swim::News::Connected, swim::News::Alone] {
            let told = Translator::default().take(news, alive.iter(), at(0));
            assert_eq!(told[1..], [News::Alive(node(&life(7, 1)))]);
        }
    }
}
