WITH RECURSIVE senders AS (
    SELECT 0 AS distance, task AS row FROM celeriac.tasks AS task WHERE id = '0198b2a4-5c3e-7000-8000-000000000003'
    UNION ALL
    SELECT distance + 1, sender
    FROM senders JOIN celeriac.tasks AS sender ON sender.id = (senders.row).parent_id
    WHERE distance < 100
)
SELECT distance, (row).id, (row).name, (row).state, (row).worker, (row).sent_at FROM senders ORDER BY distance;
