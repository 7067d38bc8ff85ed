//! Hooks of any type behind one.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Decided, Hooks, Start, TaskOutput};
use crate::context::TaskContext;
use crate::outcome::{TaskError, TaskResult};

/// [`Hooks`] whose futures are boxed, so that different ones fit into one list.
pub(super) trait AnyHooks: Send + Sync {
    fn before_start<'a>(&'a self, ctx: &'a TaskContext) -> BoxFuture<'a, TaskResult<Start>>;

    fn on_success<'a>(&'a self, ctx: &'a TaskContext, result: TaskOutput) -> BoxFuture<'a, TaskResult<TaskOutput>>;

    fn on_failure<'a>(&'a self, ctx: &'a TaskContext, error: TaskError) -> BoxFuture<'a, TaskResult<TaskOutput>>;

    fn on_retry<'a>(
        &'a self,
        ctx: &'a TaskContext,
        error: &'a TaskError,
        wait: Duration,
    ) -> BoxFuture<'a, TaskResult<Duration>>;

    fn after_return<'a>(&'a self, ctx: &'a TaskContext, decided: &'a Decided) -> BoxFuture<'a, TaskResult<()>>;
}

impl<H: Hooks> AnyHooks for H {
    fn before_start<'a>(&'a self, ctx: &'a TaskContext) -> BoxFuture<'a, TaskResult<Start>> {
        Hooks::before_start(self, ctx).boxed()
    }

    fn on_success<'a>(&'a self, ctx: &'a TaskContext, result: TaskOutput) -> BoxFuture<'a, TaskResult<TaskOutput>> {
        Hooks::on_success(self, ctx, result).boxed()
    }

    fn on_failure<'a>(&'a self, ctx: &'a TaskContext, error: TaskError) -> BoxFuture<'a, TaskResult<TaskOutput>> {
        Hooks::on_failure(self, ctx, error).boxed()
    }

    fn on_retry<'a>(
        &'a self,
        ctx: &'a TaskContext,
        error: &'a TaskError,
        wait: Duration,
    ) -> BoxFuture<'a, TaskResult<Duration>> {
        Hooks::on_retry(self, ctx, error, wait).boxed()
    }

    fn after_return<'a>(&'a self, ctx: &'a TaskContext, decided: &'a Decided) -> BoxFuture<'a, TaskResult<()>> {
        Hooks::after_return(self, ctx, decided).map(Ok).boxed()
    }
}
