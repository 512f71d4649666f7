//! One try at what may have to be waited for.

use std::{future::Future, pin::pin, task::Poll};

/// What `future` comes to if it need not wait; `None` otherwise, and then it is dropped: it is for futures that lose
/// nothing by that. Nothing wakes whoever asks later: it has to ask again by itself.
pub(super) async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_need_not_be_waited_for_is_given_and_what_must_is_not() {
        assert_eq!(at_once(std::future::ready(7)).await, Some(7));
        assert_eq!(at_once(std::future::pending::<()>()).await, None);
    }
}
