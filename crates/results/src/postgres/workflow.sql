-- The tasks of a workflow in the order of the tree: from the root of a task, or from the members of
-- a group. A member that another member has sent, such as the body of a chord, stands under that
-- one.
WITH RECURSIVE tree AS (
    SELECT 0::bigint AS depth, ARRAY[task.id] AS path, task AS row
    FROM celeriac.tasks AS task
    WHERE task.id = (SELECT coalesce(root_id, id) FROM celeriac.tasks WHERE id = $1)
        OR task.group_id = $1 AND NOT EXISTS (
            SELECT FROM celeriac.tasks AS parent WHERE parent.id = task.parent_id AND parent.group_id = $1
        )
    UNION ALL
    SELECT tree.depth + 1, tree.path || child.id, child
    FROM tree
    JOIN celeriac.tasks AS child ON child.parent_id = (tree.row).id
    WHERE child.root_id = coalesce((tree.row).root_id, (tree.row).id) AND child.root_id <> child.id
        AND NOT child.id = ANY (tree.path)
)
SELECT depth, (row).id, (row).parent_id, (row).group_id, (row).name, (row).state, (row).attempts, (row).error_kind,
       (row).error_message, (row).sent_at, (row).started_at, (row).finished_at, (row).runtime
FROM tree
ORDER BY path
LIMIT $2
