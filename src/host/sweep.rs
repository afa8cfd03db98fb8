//! Routes and rules that carry our protocol, in whatever namespace: what is left of a daemon whose run directory is gone.
//! Sysctls, neighbour entries and addresses of resolvers carry no mark; only a journal knows those.

use std::collections::BTreeMap;

use super::Report;
use super::netlink::Kernel;
use super::netns::{Namespace, NamespaceId};
use super::step::Step;

/// Removes them, but in a namespace where such routes lead to a device: its daemon lives.
pub(super) fn sweep() -> Report {
    let mut report = Report::default();
    let mut namespaces: BTreeMap<NamespaceId, Namespace> = BTreeMap::new();
    for namespace in Namespace::all() {
        namespaces.entry(namespace.id().clone()).or_insert(namespace);
    }
    for (id, namespace) in namespaces {
        let swept = namespace.run(|| {
            let kernel = Kernel::open()?;
            if !kernel.survey(&id)?.ours.is_empty() {
                return Ok(Vec::new());
            }
            let undo = |action| {
                let undone = kernel.undo(&action, None);
                (Step { namespace: id.clone(), action }, undone)
            };
            Ok(kernel.leftovers()?.into_iter().map(undo).collect())
        });
        match swept {
            Ok(steps) => {
                for (step, undone) in steps {
                    match undone {
                        Ok(true) => report.lines.push(step.to_string()),
                        Ok(false) => {}
                        Err(error) => report.failed.push(format!("{step}: {error:#}")),
                    }
                }
            }
            // A namespace of somebody else's that this caller may not enter.
            Err(error) => tracing::debug!("{id}: {error:#}"),
        }
    }
    report
}
