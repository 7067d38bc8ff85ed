//! Cases of the audit log.

use std::sync::Arc;

use serde_json::json;

use crate::audit::{AuditRecord, Operator, OperatorAction};
use crate::backend::Backend;
use crate::error::Result;

pub(super) async fn an_action_is_open_until_its_end(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let operator = Operator::of_process("suite 1.0".to_owned());
    let action = OperatorAction { name: "dead purge", target: json!({ "queues": [ns] }) };
    let number = backend.begin_action(&operator, &action).await?;
    let find = async |open: bool| -> Result<Vec<AuditRecord>> {
        let rows = backend.actions(open, 1_000).await?;
        Ok(rows.into_iter().filter(|row| row.number == number).collect())
    };
    let begun = &find(true).await?[0];
    assert_eq!((begun.action.as_str(), &begun.target, &begun.operator), (action.name, &action.target, &operator));
    assert_eq!((begun.ended_at, begun.count, &begun.error), (None, None, &None));
    assert_eq!(backend.actions(true, 0).await?.len(), 0);

    backend.end_action(number, 3, Some("no broker")).await?;
    assert_eq!(find(true).await?, []);
    let ended = &find(false).await?[0];
    assert!(ended.ended_at.is_some_and(|time| time >= ended.began_at), "{ended:?}");
    assert_eq!((ended.count, ended.error.as_deref()), (Some(3), Some("no broker")));
    Ok(())
}
