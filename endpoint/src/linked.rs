//! Files that have names elsewhere, too: a write through one of those has no event here, so they are looked at again and again.

use ksync_tree::stat_exact;

use crate::look::{Depth, Endpoint, News};

/// Files that are looked at together, at most. Where there are more, they take turns.
const TOGETHER: usize = 64;

/// Looks at the next of them, and tells what changed.
pub(crate) fn linked(endpoint: &mut Endpoint) -> Vec<News> {
    let (paths, last) = endpoint.index.linked_after(endpoint.linked, TOGETHER);
    endpoint.linked = last;
    let mut news = Vec::new();
    for path in paths {
        let known = endpoint.index.get(&path).map(|seen| seen.exact);
        if matches!(stat_exact(&endpoint.root, &path), Ok(now) if now == known) {
            continue;
        }
        news.extend(endpoint.look(&path, Depth::Entry));
    }
    news
}
