//! The durable group of nodes in one process, without faults: the first that opens its replica leads, and what anybody
//! asks is committed at once.

use ekka::core::consensus::{Configuration, GroupEvent, LogPlace, Standing, StateMachine, VoterId};
use ekka::core::control::{GroupNews, GroupRequest, Input};
use ekka::core::durable::{Ask, Record};
use ekka::core::id::ClusterId;

/// The group of the one cluster that there is.
#[derive(Default)]
pub(crate) struct CalmGroup {
    cluster_id: Option<ClusterId>,
    record: Record,
    log: Vec<GroupEvent>,
    configuration: Configuration,
    /// The nodes whose replicas are open, with how much each has been given.
    open: Vec<(usize, VoterId, usize)>,
}

impl CalmGroup {
    /// Takes what a node wants; gives what the nodes are told.
    pub(crate) fn request(&mut self, which: usize, request: GroupRequest) -> Vec<(usize, Input)> {
        let mut told = Vec::new();
        match request {
            GroupRequest::Open { cluster_id, me, .. } => {
                self.cluster_id = Some(cluster_id);
                self.open.push((which, me, 0));
            }
            GroupRequest::Close { .. } => self.open.retain(|(node, ..)| *node != which),
            GroupRequest::Ask(Ask::Found { voters }) if self.log.is_empty() => {
                self.configure(vec![voters.into_iter().collect()], Vec::new());
            }
            GroupRequest::Ask(Ask::Found { .. }) => {}
            GroupRequest::Whole { .. } => {
                self.open.retain(|(node, ..)| *node != which);
                told.push((which, GroupNews::Whole(Ok(self.record.to_snapshot()))));
            }
            // The next in turn.
            GroupRequest::HandOver { .. } => self.open.rotate_left(1),
            GroupRequest::Ask(Ask::Propose { token, command }) => {
                let at = self.next();
                let answer = self.record.apply(at, &command);
                self.log.push(GroupEvent::Applied { at, command });
                told.push((which, GroupNews::Answered { token, result: Ok(answer) }));
            }
            GroupRequest::Confirm { round, .. } => {
                let ok = self.open.first().is_some_and(|(node, ..)| *node == which);
                told.push((which, GroupNews::Confirmed { round, ok }));
            }
            GroupRequest::Ask(Ask::ChangeVoters { token, voters }) => {
                self.configure(vec![voters.into_iter().collect()], self.configuration.learners.clone());
                told.push((which, self.reconfigured(token)));
            }
            GroupRequest::Ask(Ask::SetLearners { token, learners }) => {
                self.configure(self.configuration.voters.clone(), learners.into_iter().collect());
                told.push((which, self.reconfigured(token)));
            }
        }
        self.news(told)
    }

    fn next(&self) -> LogPlace {
        LogPlace { term: 1, index: self.log.len() as u64 + 1 }
    }

    fn configure(&mut self, voters: Vec<Vec<VoterId>>, learners: Vec<VoterId>) {
        self.configuration = Configuration { voters, learners, at: self.next(), committed: true };
        self.record.reconfigured(&self.configuration);
        self.log.push(GroupEvent::Reconfigured(self.configuration.clone()));
    }

    fn reconfigured(&self, token: u64) -> GroupNews {
        GroupNews::Reconfigured { token, result: Ok(()), latest: self.configuration.at }
    }

    /// Entries first, then how the group stands, then the answers.
    fn news(&mut self, answers: Vec<(usize, GroupNews)>) -> Vec<(usize, Input)> {
        let Some(cluster_id) = self.cluster_id else { return Vec::new() };
        let leader = self.open.first().map(|(_, voter, _)| *voter);
        let last = LogPlace { term: 1, index: self.log.len() as u64 };
        let mut told = Vec::new();
        for (which, me, given) in &mut self.open {
            for event in self.log.iter().skip(*given).cloned() {
                told.push((*which, GroupNews::Event { event, replay: false }));
            }
            *given = self.log.len();
            let standing = Standing {
                me: *me,
                term: 1,
                leader,
                leads: leader == Some(*me),
                last,
                applied: last,
                told: last,
                configuration: self.configuration.clone(),
                failed: None,
            };
            told.push((*which, GroupNews::Standing(Box::new(standing))));
        }
        told.into_iter().chain(answers).map(|(which, news)| (which, Input::Group { cluster_id, news })).collect()
    }
}
