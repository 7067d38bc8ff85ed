//! Ids of the tasks that follow from another task.

use uuid::Uuid;

/// UUID namespace of the ids of follow-ups that set none.
const FOLLOW_UPS: Uuid = Uuid::from_u128(0x6365_6c65_7269_6163_8000_666f_6c6c_6f77);

/// Returns the id of a task that follows from another one. It is always the same.
pub(crate) fn derived_id(id: &str, what: &str) -> String {
    Uuid::new_v5(&FOLLOW_UPS, format!("{id}/{what}").as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_id_depends_on_the_id_and_the_purpose() {
        assert_eq!(derived_id("1", "chain"), derived_id("1", "chain"));
        assert_ne!(derived_id("1", "chain"), derived_id("1", "link/0"));
        assert_ne!(derived_id("1", "chain"), derived_id("2", "chain"));
    }
}
