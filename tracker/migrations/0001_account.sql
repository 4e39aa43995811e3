-- The table as the Go system made it; a database of its is taken over as it is. A new one gets 1000 accounts.
do $$
begin
    if to_regclass('account') is null then
        create table account (
            id serial primary key,
            name varchar(255) not null,
            isActive boolean default true
        );
        insert into account (name) select md5(random()::text || n) from generate_series(1, 1000) as n;
    end if;
end
$$;
