//! The end of each help text: examples, and the exit codes of the verb.

use std::fmt::Write;

use crate::exit::Exit;

/// The end of the help text of a verb.
pub(super) struct HelpEnd {
    /// Further sections, before the examples.
    sections: &'static str,
    examples: &'static [&'static str],
    exits: &'static [Exit],
}

use Exit::{
    Config, Data, Denied, Different, Done, Internal, NotConfirmed, NotReady, Refused, TaskFailed, TimedOut,
    Unavailable, Usage,
};

/// Exit codes of verbs that only read the configuration.
const READS_CONFIG: &[Exit] = &[Done, Usage, Config];

/// Exit codes of verbs that connect to the broker or the database.
const CONNECTS: &[Exit] = &[Done, Usage, Unavailable, Internal, Denied, Config];

/// Exit codes of verbs that connect, and look for something by its name.
const LOOKS: &[Exit] = &[Done, Usage, Data, Unavailable, Internal, Denied, Config];

/// Exit codes of verbs that ask before they change something.
const ASKS: &[Exit] = &[Done, Usage, NotConfirmed, Data, Unavailable, Internal, Denied, Config];

/// Exit codes of verbs that compare.
const COMPARES: &[Exit] = &[Done, Usage, Different, Unavailable, Internal, Denied, Config];

/// Exit codes of verbs that wait for a task.
const AWAITS: &[Exit] = &[Done, TaskFailed, Usage, Data, Unavailable, Internal, TimedOut, Denied, Config];

/// Exit codes of verbs that ask workers.
const REMOTE: &[Exit] = &[Done, Usage, NotReady, Refused, Data, Unavailable, Internal, Denied, Config];

const SIGNALS: &str = "\
Signals:
  SIGTERM, SIGINT  stop: take no more tasks, finish running ones within the drain timeout,
                   return the others to their queues
  a second signal  interrupt running tasks: they return to their queues, and no attempt is counted
  SIGQUIT          interrupt at once
  SIGUSR2          log celeriac's lines from DEBUG on, or as configured again

";

pub(super) const WORKER: HelpEnd = HelpEnd {
    sections: SIGNALS,
    examples: &[
        "my-app worker -Q billing,mail -c 20",
        "my-app worker -n w1 --prefetch auto -l debug",
        "my-app worker --check=live",
    ],
    exits: &[Done, Usage, NotReady, Unavailable, Internal, Denied, Config],
};

pub(super) const SETUP: HelpEnd = HelpEnd {
    sections: "",
    examples: &["celeriac setup --broker amqp://admin:secret@mq/shop", "celeriac setup --check --json"],
    exits: COMPARES,
};

pub(super) const RELAY: HelpEnd =
    HelpEnd { sections: "", examples: &["celeriac relay", "celeriac relay --status"], exits: CONNECTS };

pub(super) const LIST: HelpEnd =
    HelpEnd { sections: "", examples: &["my-app list", "my-app list queues --json"], exits: READS_CONFIG };

pub(super) const CALL: HelpEnd = HelpEnd {
    sections: "",
    examples: &[
        "celeriac call shop.charge --args '[17, 1299]' --wait 10s",
        "celeriac call shop.report --kwargs '{\"day\": \"monday\"}' --countdown 5m -Q reports",
    ],
    exits: AWAITS,
};

pub(super) const RESULT: HelpEnd = HelpEnd {
    sections: "",
    examples: &["celeriac result order-17 --wait 30s", "celeriac result order-17 --follow"],
    exits: AWAITS,
};

pub(super) const LOGS: HelpEnd = HelpEnd {
    sections: "",
    examples: &["celeriac logs order-17", "celeriac logs order-17 --attempt 2 --json"],
    exits: LOOKS,
};

pub(super) const WORKFLOW_SHOW: HelpEnd = HelpEnd {
    sections: "",
    examples: &["celeriac workflow show order-17", "celeriac workflow show order-17 --mermaid"],
    exits: LOOKS,
};

pub(super) const QUERY: HelpEnd = HelpEnd {
    sections: "",
    examples: &[
        "celeriac query",
        "celeriac query failures --since 1h",
        "celeriac query find -t shop.charge -k '{\"order\": 17}' --json",
    ],
    exits: LOOKS,
};

pub(super) const TOP: HelpEnd = HelpEnd {
    sections: "",
    examples: &["celeriac top", "celeriac top -Q billing --since 5m --every 10s", "celeriac top --once --json"],
    exits: CONNECTS,
};

pub(super) const EVENTS: HelpEnd = HelpEnd {
    sections: "",
    examples: &["celeriac events", "celeriac events --json | jq .type", "celeriac events --state --every 2s"],
    exits: CONNECTS,
};

pub(super) const FAILURES: HelpEnd = HelpEnd {
    sections: "",
    examples: &["celeriac failures", "celeriac failures --since 1d -t 'shop.*' --json"],
    exits: LOOKS,
};

pub(super) const RETRY: HelpEnd = HelpEnd {
    sections: "",
    examples: &[
        "celeriac retry order-17 order-18",
        "celeriac retry --failed-since 1h -t 'shop.*' --dry-run",
        "celeriac retry --failed-since 1h --fingerprint 858208aba32b --yes",
    ],
    exits: ASKS,
};

pub(super) const REVOKE: HelpEnd =
    HelpEnd { sections: "", examples: &["celeriac revoke order-17 order-18 --terminate"], exits: LOOKS };

pub(super) const STATUS: HelpEnd = HelpEnd {
    sections: "",
    examples: &["celeriac status", "celeriac status --pattern 'billing*' --timeout 3s --json"],
    exits: &[Done, Usage, NotReady, Unavailable, Internal, Denied, Config],
};

pub(super) const INSPECT: HelpEnd = HelpEnd {
    sections: "",
    examples: &[
        "celeriac inspect --list",
        "celeriac inspect active -d w1@host,w2@host",
        "celeriac inspect query_task order-17 --json",
    ],
    exits: REMOTE,
};

pub(super) const CONTROL: HelpEnd = HelpEnd {
    sections: "",
    examples: &[
        "celeriac control --list",
        "celeriac control rate_limit shop.mail 10/m",
        "celeriac control revoke order-17 -k '{\"terminate\": true}'",
    ],
    exits: REMOTE,
};

pub(super) const EXPLAIN: HelpEnd = HelpEnd {
    sections: "",
    examples: &["celeriac routes explain shop.charge --args '[17, 1299]'"],
    exits: &[Done, Usage, Data, Config],
};

pub(super) const QUEUES: HelpEnd =
    HelpEnd { sections: "", examples: &["celeriac queues", "celeriac queues -Q billing --head"], exits: LOOKS };

pub(super) const PLAN: HelpEnd =
    HelpEnd { sections: "", examples: &["celeriac topology plan --config config"], exits: COMPARES };

pub(super) const APPLY: HelpEnd = HelpEnd {
    sections: "",
    examples: &["celeriac topology apply", "celeriac topology apply --prune --yes"],
    exits: &[Done, Usage, Different, NotConfirmed, Unavailable, Internal, Denied, Config],
};

pub(super) const EXPORT: HelpEnd = HelpEnd {
    sections: "",
    examples: &[
        "celeriac topology export > definitions.json",
        "celeriac topology export --format manifests --cluster rabbit --namespace jobs",
    ],
    exits: READS_CONFIG,
};

pub(super) const MIGRATE: HelpEnd =
    HelpEnd { sections: "", examples: &["celeriac topology migrate orders --to orders.q --delete"], exits: ASKS };

pub(super) const DEAD_LIST: HelpEnd = HelpEnd {
    sections: "",
    examples: &["celeriac dead list -Q billing", "celeriac dead list -t 'shop.*' --reason exhausted --json"],
    exits: LOOKS,
};

pub(super) const DEAD_SHOW: HelpEnd =
    HelpEnd { sections: "", examples: &["celeriac dead show order-17"], exits: LOOKS };

pub(super) const DEAD_REPLAY: HelpEnd = HelpEnd {
    sections: "",
    examples: &["celeriac dead replay --id order-17", "celeriac dead replay -Q billing --rate 10/s --yes"],
    exits: ASKS,
};

pub(super) const DEAD_PURGE: HelpEnd = HelpEnd {
    sections: "",
    examples: &["celeriac dead purge -t 'shop.*' --dry-run", "celeriac dead purge -Q billing --yes"],
    exits: ASKS,
};

pub(super) const RETRIES_OVERDUE: HelpEnd = HelpEnd {
    sections: "",
    examples: &["celeriac retries overdue", "celeriac retries overdue --after 10m --json"],
    exits: CONNECTS,
};

pub(super) const RETRIES_SEND: HelpEnd = HelpEnd {
    sections: "",
    examples: &["celeriac retries send order-17", "celeriac retries send --all --dry-run"],
    exits: LOOKS,
};

pub(super) const DB_SIZE: HelpEnd =
    HelpEnd { sections: "", examples: &["celeriac db size", "celeriac db size --json"], exits: CONNECTS };

pub(super) const DB_PRUNE: HelpEnd = HelpEnd {
    sections: "",
    examples: &[
        "celeriac db prune --older-than 30d --dry-run",
        "celeriac db prune --older-than 1d -t 'shop.*' --state SUCCESS --yes",
    ],
    exits: &[Done, Usage, NotConfirmed, Unavailable, Internal, Denied, Config],
};

pub(super) const AUDIT: HelpEnd =
    HelpEnd { sections: "", examples: &["celeriac audit", "celeriac audit --open --json"], exits: CONNECTS };

pub(super) const CONFIG_CHECK: HelpEnd =
    HelpEnd { sections: "", examples: &["celeriac config check --config config"], exits: READS_CONFIG };

pub(super) const CONFIG_SHOW: HelpEnd =
    HelpEnd { sections: "", examples: &["CELERIAC__WORKER__CONCURRENCY=8 celeriac config show"], exits: READS_CONFIG };

impl HelpEnd {
    /// Returns the text.
    pub(super) fn text(&self) -> String {
        let Self { sections, examples, exits } = self;
        let mut text = format!("{sections}Examples:\n");
        for example in *examples {
            let _ = writeln!(text, "  {example}");
        }
        text.push_str("\nExit codes:\n");
        for exit in *exits {
            let _ = writeln!(text, "  {:<3} {}", exit.code(), exit.meaning());
        }
        text.truncate(text.trim_end().len());
        text
    }
}
