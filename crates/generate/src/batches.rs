//! Gathers items into requests as node agents do: up to 512 items of a few instances each.

use std::collections::VecDeque;

use crate::catalog::{AGENTS, agent_of};

/// Items of a request: what SDKs and Collectors send by default.
pub const ITEMS_PER_REQUEST: usize = 512;

/// The items of one request, by instance.
pub type Groups<T> = Vec<(usize, Vec<T>)>;

/// The agents, each with the items that it has not sent yet.
pub struct Batches<T> {
    agents: Vec<Agent<T>>,
    ready: VecDeque<Groups<T>>,
}

struct Agent<T> {
    groups: Groups<T>,
    items: usize,
}

impl<T> Default for Batches<T> {
    fn default() -> Batches<T> {
        Batches::new()
    }
}

impl<T> Batches<T> {
    /// Agents without items.
    pub fn new() -> Batches<T> {
        Batches {
            agents: (0..AGENTS).map(|_| Agent { groups: Vec::new(), items: 0 }).collect(),
            ready: VecDeque::new(),
        }
    }

    /// Hands an item of an instance to its agent.
    pub fn push(&mut self, instance: usize, item: T) {
        let agent = &mut self.agents[agent_of(instance)];
        match agent.groups.iter_mut().find(|(of, _)| *of == instance) {
            Some((_, items)) => items.push(item),
            None => agent.groups.push((instance, vec![item])),
        }
        agent.items += 1;
        if agent.items == ITEMS_PER_REQUEST {
            self.ready.extend(agent.take());
        }
    }

    /// A full request, if there is one.
    pub fn pop(&mut self) -> Option<Groups<T>> {
        self.ready.pop_front()
    }

    /// At the end: what is left of the next agent that has something.
    pub fn drain(&mut self) -> Option<Groups<T>> {
        self.pop().or_else(|| self.agents.iter_mut().find_map(Agent::take))
    }
}

impl<T> Agent<T> {
    fn take(&mut self) -> Option<Groups<T>> {
        self.items = 0;
        (!self.groups.is_empty()).then(|| std::mem::take(&mut self.groups))
    }
}
