//! Work that blocks, off the runtime's threads. What panics there goes on panicking where it is waited for.

use tokio::task::{JoinError, JoinHandle, spawn_blocking};

/// Does `work` in a thread where it may block.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    joined(spawn_blocking(work)).await
}

/// What a task that nobody aborts has brought.
pub(crate) async fn joined<T>(task: JoinHandle<T>) -> T {
    ended(task.await)
}

/// What a task has brought that has ended.
pub(crate) fn ended<T>(ended: Result<T, JoinError>) -> T {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
