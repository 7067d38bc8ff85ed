//! An existing migration never changes, because databases have already run it.

use crate::files::root;

/// The migrations of released versions, with the FNV-1a hash of each text. A new migration is a new
/// line. An existing line never changes.
const KEPT: &str = "
postgres/0001_tasks.sql a3e42d7fe1be9557
postgres/0002_replays.sql 04949ac9826336a4
postgres/0003_attempts.sql 0e4c06769e421350
postgres/0004_outbox.sql 679e22805a4c0e07
postgres/0005_revocations.sql ca9eb76beb6b554c
postgres/0006_suspects.sql cb726312b731372b
postgres/0007_runs.sql a8234a63095da7b9
postgres/0008_audit.sql 8b177b70e9d456ad
postgres/0009_retries.sql 9ec72d5968334597
postgres/0010_views.sql fb916fd075b110c1
postgres/0011_functions.sql 659d039b65490c9e
postgres/0012_running.sql 54d864cbec0b2308
postgres/0013_rollups.sql 54a01ef9ebf6fc10
postgres/0014_sent.sql b08c4fb4582b9772
postgres/0015_redacted.sql 063da7d9dc7c0d1c
postgres/0016_notification_key.sql a38b0dc03d374ced
postgres/0017_attempt_logs.sql 6a2f61d34ad1db61
postgres/0018_fingerprints.sql 2dd1fb92f8766296
postgres/0019_expected_wait.sql 2514b01053f21812
postgres/0020_joins.sql 3449a008b6a1c4ef
postgres/0021_error_args.sql bf8557de5e03b0dd
postgres/0022_custom_states.sql 0303de231de77579
postgres/0023_join_ends.sql 391798df161dc39d
postgres/0024_groups.sql 9a11e47f4e65efc3
sqlite/0001_tasks.sql 261bf9d42d607485
sqlite/0002_replays.sql c1f2c9bf05020f79
sqlite/0003_attempts.sql 1afbf1b9c2333c7e
sqlite/0005_revocations.sql 1d3c59a76d73b5ee
sqlite/0006_suspects.sql b81d8ae3f5e3bb0b
sqlite/0007_runs.sql 01da1ea13252ebf3
sqlite/0008_audit.sql b38226f986f181f1
sqlite/0013_sent.sql 0f954321309cf334
sqlite/0020_joins.sql 318938e394e8230f
sqlite/0021_error_args.sql 92e6a0ea22d455da
sqlite/0022_next_attempts.sql ec75c7d8c36cef7d
sqlite/0023_custom_states.sql bfa12ebafb8a5e35
sqlite/0024_join_ends.sql 45cec2c2c6be157a
sqlite/0025_groups.sql 92f3ddf88233c63f
";

fn hash(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn no_migration_has_changed() {
    let mut found = String::from("\n");
    for store in ["postgres", "sqlite"] {
        let folder = root().join("crates/results/migrations").join(store);
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            found.push_str(&format!("{store}/{name} {:016x}\n", hash(&std::fs::read(&file).unwrap())));
        }
    }
    assert_eq!(found, KEPT, "a changed migration would never reach the databases that have run it: add another one");
}
