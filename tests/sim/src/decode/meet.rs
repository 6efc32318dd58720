//! Where the paths of a branch meet again: immediate post-dominators.
//!
//! A path that leaves the kernel at once does not count: in `if (i >= n) return;` the other lanes
//! meet at the next line, not at the end. So an edge into a block that only exits is left out where
//! its source has another way to go.

use super::inst::{Inst, NOWHERE, Op, TRUE};

/// Sets `meet` of every branch of `code`.
pub fn find_meeting_points(code: &mut [Inst]) {
    let graph = Graph::new(code);
    let post = graph.post_dominators();
    for (block, meeting) in post.into_iter().enumerate().take(graph.starts.len()) {
        let last = graph.end(block, code.len()) - 1;
        let meeting = match meeting {
            Some(meeting) if meeting < graph.starts.len() => graph.starts[meeting] as u32,
            _ => NOWHERE,
        };
        match &mut code[last].op {
            Op::Branch { meet, .. } | Op::BranchIndex { meet, .. } => *meet = meeting,
            _ => {}
        }
    }
}

/// The blocks of straight code and the ways between them. The block after the last is the end.
struct Graph {
    /// First instruction of each block.
    starts: Vec<usize>,
    successors: Vec<Vec<usize>>,
}

impl Graph {
    fn new(code: &[Inst]) -> Graph {
        let mut leader = vec![false; code.len() + 1];
        leader[0] = true;
        for (at, inst) in code.iter().enumerate() {
            match &inst.op {
                Op::Branch { target, .. } => leader[*target as usize] = true,
                Op::BranchIndex { targets, .. } => {
                    targets.iter().for_each(|&target| leader[target as usize] = true);
                }
                Op::Exit | Op::Trap { .. } => {}
                _ => continue,
            }
            leader[at + 1] = true;
        }
        let starts: Vec<usize> = (0..code.len()).filter(|&at| leader[at]).collect();
        let mut graph = Graph { starts, successors: Vec::new() };
        let end = graph.starts.len();
        for block in 0..end {
            graph.successors.push(graph.ways_from(block, code));
        }
        let only_exits = |block: usize| {
            block < end
                && graph.successors[block] == [end]
                && matches!(code[graph.starts[block]].op, Op::Exit)
        };
        let kept = (0..end).map(|block| {
            let ways = &graph.successors[block];
            let going_on: Vec<usize> =
                ways.iter().copied().filter(|&way| !only_exits(way) && way != end).collect();
            if going_on.is_empty() { ways.clone() } else { going_on }
        });
        let kept: Vec<Vec<usize>> = kept.collect();
        // Of a loop that only such a path leaves, the path is the way on: what it holds must keep it.
        let shortened = Graph { starts: graph.starts.clone(), successors: kept };
        let ends = shortened.post_dominators();
        for (block, ways) in shortened.successors.into_iter().enumerate() {
            if ends[block].is_some() {
                graph.successors[block] = ways;
            }
        }
        graph
    }

    fn end(&self, block: usize, length: usize) -> usize {
        self.starts.get(block + 1).copied().unwrap_or(length)
    }

    fn block_of(&self, at: usize) -> usize {
        self.starts.binary_search(&at).unwrap_or(self.starts.len())
    }

    fn ways_from(&self, block: usize, code: &[Inst]) -> Vec<usize> {
        let last = &code[self.end(block, code.len()) - 1];
        let mut ways = match &last.op {
            Op::Branch { target, .. } => vec![self.block_of(*target as usize)],
            Op::BranchIndex { targets, .. } => {
                targets.iter().map(|&target| self.block_of(target as usize)).collect()
            }
            Op::Exit | Op::Trap { .. } => vec![self.starts.len()],
            _ => return vec![block + 1],
        };
        if last.guard != TRUE || last.negated {
            ways.push(block + 1);
        }
        ways.sort_unstable();
        ways.dedup();
        ways
    }

    /// Cooper, Harvey and Kennedy, "A simple, fast dominance algorithm", on the reversed graph.
    fn post_dominators(&self) -> Vec<Option<usize>> {
        let end = self.starts.len();
        let mut predecessors = vec![Vec::new(); end + 1];
        for (block, ways) in self.successors.iter().enumerate() {
            ways.iter().for_each(|&way| predecessors[way].push(block));
        }
        let order = post_order(end, &predecessors);
        let mut number = vec![0; end + 1];
        order.iter().enumerate().for_each(|(i, &block)| number[block] = i);
        let mut post: Vec<Option<usize>> = vec![None; end + 1];
        post[end] = Some(end);
        let mut changed = true;
        while changed {
            changed = false;
            for &block in order.iter().rev().filter(|&&block| block != end) {
                let known =
                    self.successors[block].iter().copied().filter(|&way| post[way].is_some());
                let meeting = known.reduce(|mut one, mut other| {
                    while one != other {
                        while number[one] < number[other] {
                            one = post[one].unwrap_or(end);
                        }
                        while number[other] < number[one] {
                            other = post[other].unwrap_or(end);
                        }
                    }
                    one
                });
                if meeting != post[block] {
                    post[block] = meeting;
                    changed = true;
                }
            }
        }
        post
    }
}

/// Blocks from which the end is reached, children before parents in a walk from the end backwards.
fn post_order(end: usize, predecessors: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut seen = vec![false; end + 1];
    let mut stack = vec![(end, 0)];
    seen[end] = true;
    while let Some((block, child)) = stack.pop() {
        match predecessors[block].get(child) {
            Some(&next) => {
                stack.push((block, child + 1));
                if !std::mem::replace(&mut seen[next], true) {
                    stack.push((next, 0));
                }
            }
            None => order.push(block),
        }
    }
    order
}
