-- Tell every tracker which accounts a statement changed, whoever made it. The payload is a list of IDs, or '*' where
-- that would be long: a notification carries less than 8000 bytes.
create function tracker_account_changed() returns trigger language plpgsql as $$
declare
    changed text;
begin
    if tg_op = 'INSERT' then
        select case when count(*) > 500 then '*' else string_agg(id::text, ' ') end into changed from new_rows;
    elsif tg_op = 'DELETE' then
        select case when count(*) > 500 then '*' else string_agg(id::text, ' ') end into changed from old_rows;
    elsif tg_op = 'UPDATE' then
        select case when count(*) > 500 then '*' else string_agg(id::text, ' ') end into changed
        from (select id from old_rows union select id from new_rows) as ids;
    else
        changed := '*';
    end if;
    if changed <> '' then
        perform pg_notify('account_changed', changed);
    end if;
    return null;
end
$$;

create trigger account_inserted after insert on account
    referencing new table as new_rows for each statement execute function tracker_account_changed();
create trigger account_updated after update on account
    referencing old table as old_rows new table as new_rows
    for each statement execute function tracker_account_changed();
create trigger account_deleted after delete on account
    referencing old table as old_rows for each statement execute function tracker_account_changed();
create trigger account_truncated after truncate on account
    for each statement execute function tracker_account_changed();
