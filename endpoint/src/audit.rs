//! Looking at everything anew, a few directories at a time: what no event told of is found.

use std::sync::Arc;

use crate::look::{Depth, Endpoint, News};

/// Looks at all that is in the next directories, about `entries` entries. Tells what changed, and whether a round is over.
pub fn audit(endpoint: &mut Endpoint, entries: usize) -> (Vec<News>, bool) {
    let mut news = Vec::new();
    let mut looked = 0;
    while looked < entries {
        let dir = endpoint.audit.take().unwrap_or_else(|| Arc::from(""));
        looked += 1 + endpoint.index.children(&dir).len();
        let mut todo = endpoint.look_into(&dir, Depth::Entry, &mut news);
        while let Some(dir) = todo.pop() {
            todo.extend(endpoint.look_into(&dir, Depth::Tree, &mut news));
        }
        endpoint.audit = endpoint.index.dir_after(&dir);
        if endpoint.audit.is_none() {
            return (news, true);
        }
    }
    (news, false)
}
