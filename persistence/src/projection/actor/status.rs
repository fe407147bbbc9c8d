//! How a projection is doing: for whoever asks, the metrics and the log.

use super::{Context, Life, ProjectionActor};
use crate::projection::{Envelope, Progress, ProjectionStatus};
use std::time::Duration;

impl<I: Envelope> ProjectionActor<I> {
    pub(super) fn status(&mut self, ctx: &Context) -> ProjectionStatus {
        let projection = self.setup.id.clone();
        let problem = self.problem.clone();
        let Some(Life { state, meter, .. }) = &mut self.life else {
            return ProjectionStatus { projection, problem, ..ProjectionStatus::default() };
        };
        let now = ctx.clock().now();
        let age = state.oldest_ms().map_or(0, |oldest| ctx.clock().wall_ms().saturating_sub(oldest));
        ProjectionStatus {
            projection,
            running: true,
            paused: state.is_paused(),
            offset: state.done_to(),
            behind: state.end().ordering().saturating_sub(state.done_to().ordering()),
            age: Duration::from_millis(age),
            parked: state.parked_count(),
            progress: meter.progress(state.handled(), state.done_to(), state.end(), now),
            problem,
        }
    }

    pub(super) fn measure(&mut self, ctx: &Context) {
        let ProjectionStatus { behind, age, parked, progress, .. } = self.status(ctx);
        let now = ctx.clock().now();
        if let Some(life) = &mut self.life {
            life.meter.measured(behind, age, parked);
            if life.meter.is_to_be_told(behind, now) {
                let Progress { done, of_about, per_second } = progress;
                let projection = &self.setup.id;
                tracing::info!(%projection, done, of_about, per_second = per_second.round(), "projection is catching up");
            }
        }
    }
}
