//! Carrying out lists of changes and undoing them, namespace by namespace, with the journal in step.

use anyhow::Context;

use super::Report;
use super::journal::Journal;
use super::netlink::Kernel;
use super::netns::Namespace;
use super::step::{Action, Step};
use super::sysctl::read_sysctl;

/// Carries out `steps` in order; stops at the first that fails. The caller undoes.
pub(super) fn carry_out(steps: &[Step], namespaces: &[Namespace], journal: &mut Journal) -> anyhow::Result<()> {
    carry_out_with(steps, namespaces, journal, &mut |_| Ok(()))
}

/// As [`carry_out`], calling `before` inside the namespace ahead of each step.
pub(super) fn carry_out_with(
    steps: &[Step],
    namespaces: &[Namespace],
    journal: &mut Journal,
    before: &mut (dyn FnMut(&Step) -> anyhow::Result<()> + Send),
) -> anyhow::Result<()> {
    for group in steps.chunk_by(|one, next| one.namespace == next.namespace) {
        let Some(namespace) = namespaces.iter().find(|namespace| *namespace.id() == group[0].namespace) else {
            continue;
        };
        namespace.run(|| {
            let kernel = Kernel::open()?;
            journal.record(group.iter().filter(|step| step.action.outlives_us()).map(with_old_value).collect())?;
            for step in group {
                before(step)?;
                kernel.apply(&step.action).with_context(|| step.to_string())?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn with_old_value(step: &Step) -> (Step, Option<String>) {
    let old = if let Action::Sysctl { path, .. } = &step.action { read_sysctl(path).ok() } else { None };
    (step.clone(), old)
}

/// Undoes `steps` of the journal, last first; one that fails stays there and does not stop the others.
pub(super) fn undo(steps: &[Step], journal: &mut Journal) -> Report {
    let mut report = Report::default();
    let mut last_first: Vec<&Step> = steps.iter().collect();
    last_first.sort_by(|one, other| other.cmp(one));
    for group in last_first.chunk_by(|one, next| one.namespace == next.namespace) {
        let undone = undo_in_one_namespace(group, journal, &mut report);
        if let Err(error) = journal.forget(&undone) {
            tracing::warn!("{error:#}");
        }
    }
    for failure in &report.failed {
        tracing::warn!("could not undo {failure}");
    }
    report
}

/// Steps that are no longer in force afterwards.
fn undo_in_one_namespace(group: &[&Step], journal: &Journal, report: &mut Report) -> Vec<Step> {
    let Some(namespace) = Namespace::find(&group[0].namespace) else {
        report.lines.push(format!("{}: the namespace is gone, and with it all that was set up", group[0].namespace));
        return group.iter().map(|step| (*step).clone()).collect();
    };
    let mut undone = Vec::new();
    let entered = namespace.run(|| {
        let kernel = Kernel::open()?;
        for step in group {
            let old = journal.entries().get(*step).and_then(Option::as_deref);
            match kernel.undo(&step.action, old) {
                Ok(found) => {
                    if found {
                        report.lines.push(step.to_string());
                    }
                    undone.push((*step).clone());
                }
                Err(error) => report.failed.push(format!("{step}: {error}")),
            }
        }
        Ok(())
    });
    if let Err(error) = entered {
        report.failed.push(format!("{}: {error:#}", group[0].namespace));
    }
    undone
}
