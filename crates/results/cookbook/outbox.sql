SELECT waiting, failing, oldest_at FROM celeriac.outbox_lag;
