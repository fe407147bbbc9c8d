//! Who reaches whom in the [`Net`] of tests: what SWIM and the connections of each node notice of it.

use super::{Input, network::Net};
use crate::{member::UniqueAddress, membership::news::News};
use actors::Tick;
use rand::RngExt;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What SWIM at one node thinks of an address.
pub(crate) struct Opinion {
    id: UniqueAddress,
    alive: bool,
    silent_until: Option<Tick>,
    link: bool,
}

impl Net {
    /// The lives that run, by address.
    fn there(&self) -> BTreeMap<usize, usize> {
        self.processes.iter().enumerate().filter(|(_, one)| one.running).map(|(index, one)| (one.at, index)).collect()
    }

    /// Whom a node there reaches, through others too.
    fn component(&self, of: usize, there: &BTreeMap<usize, usize>) -> BTreeSet<usize> {
        let mut reached = BTreeSet::from([of]);
        let mut open = vec![of];
        while let Some(one) = open.pop() {
            for two in there.keys() {
                let both = !self.cuts.contains(&(one, *two)) && !self.cuts.contains(&(*two, one));
                if both && reached.insert(*two) {
                    open.push(*two);
                }
            }
        }
        reached
    }

    /// What SWIM and the connections notice.
    pub(super) fn look(&mut self) {
        let there = self.there();
        for (at, index) in &there {
            let reached = self.component(*at, &there);
            let mut inputs = Vec::new();
            let addresses: BTreeSet<usize> = self.processes.iter().map(|process| process.at).collect();
            for other in addresses.into_iter().filter(|other| other != at) {
                let life = there.get(&other).filter(|_| reached.contains(&other));
                let life = life.map(|index| self.processes[*index].id.clone());
                let way = (*at, other);
                let link = life.is_some() && !self.cuts.contains(&way) && !self.broken_links.contains(&way);
                let patience = Duration::from_millis(self.rng.random_range(3000..5000));
                let now = self.now;
                let opinions = &mut self.processes[*index].swim;
                match (opinions.get_mut(&other), life) {
                    (Some(opinion), Some(id)) if opinion.id != id => {
                        inputs.push(Input::News(News::Replaced { old: opinion.id.clone(), new: id.clone() }));
                        *opinion = Opinion { id, alive: true, silent_until: None, link: true };
                    }
                    (Some(opinion), Some(id)) => {
                        opinion.silent_until = None;
                        if !opinion.alive {
                            opinion.alive = true;
                            inputs.push(Input::News(News::Alive(id)));
                        }
                    }
                    (Some(opinion), None) => {
                        let until = *opinion.silent_until.get_or_insert(now + patience);
                        if opinion.alive && now >= until {
                            opinion.alive = false;
                            inputs.push(Input::News(News::Unreachable(opinion.id.clone())));
                        }
                    }
                    (None, Some(id)) => {
                        inputs.push(Input::News(News::Alive(id.clone())));
                        opinions.insert(other, Opinion { id, alive: true, silent_until: None, link: true });
                    }
                    _ => {}
                }
                if let Some(opinion) = opinions.get_mut(&other)
                    && opinion.link != link
                {
                    opinion.link = link;
                    inputs.push(Input::Link { peer: opinion.id.clone(), works: link });
                }
            }
            inputs.into_iter().for_each(|input| self.step(*index, input));
        }
    }
}
