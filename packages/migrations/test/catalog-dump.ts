import type { Client } from 'pg'

/** Everything that the catalog says about a schema, one line per thing, with its name written as SCHEMA. */
export async function catalogDump(client: Client, schema: string): Promise<string[]> {
  const { rows } = await client.query<{ line: string }>(dump, [schema])
  return rows.map(({ line }) => line.replaceAll(new RegExp(`"?\\b${schema}\\b"?(?=[.])`, 'g'), 'SCHEMA'))
}

// The path is emptied first, so that every name comes qualified.
const dump = `
  with path as materialized (select set_config('search_path', '', true) as emptied),
  namespace as materialized (select oid, nspacl from pg_catalog.pg_namespace, path where nspname = $1 and emptied = '')
  select concat_ws(' | ', 'schema', nspacl::text) as line from namespace
  union all
  select concat_ws(' | ', 'relation', relname, relkind, relpersistence, reloptions::text, relacl::text,
    (select toast.reloptions::text from pg_class as toast where toast.oid = relation.reltoastrelid),
    case relkind when 'v' then pg_get_viewdef(relation.oid) when 'i' then pg_get_indexdef(relation.oid) end,
    obj_description(relation.oid, 'pg_class'))
  from pg_class as relation join namespace on namespace.oid = relnamespace
  union all
  select concat_ws(' | ', 'column', relname, attnum, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
    attgenerated, attstattarget, attstorage, attcompression, pg_get_expr(adbin, adrelid))
  from pg_attribute
  join pg_class as relation on relation.oid = attrelid
  join namespace on namespace.oid = relnamespace
  left join pg_attrdef on adrelid = attrelid and adnum = attnum
  where attnum > 0
  union all
  select concat_ws(' | ', 'constraint', relation.relname, conname, contype, pg_get_constraintdef(pg_constraint.oid))
  from pg_constraint join namespace on namespace.oid = connamespace
  left join pg_class as relation on relation.oid = conrelid
  union all
  select concat_ws(' | ', 'sequence', relname, format_type(seqtypid, null), seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle)
  from pg_sequence join pg_class as relation on relation.oid = seqrelid join namespace on namespace.oid = relnamespace
  union all
  select concat_ws(' | ', 'function', pg_get_functiondef(pg_proc.oid), proacl::text)
  from pg_proc join namespace on namespace.oid = pronamespace
  union all
  select concat_ws(' | ', 'type', typname, typtype)
  from pg_type join namespace on namespace.oid = typnamespace
  union all
  select concat_ws(' | ', 'trigger', relation.relname, pg_get_triggerdef(pg_trigger.oid))
  from pg_trigger join pg_class as relation on relation.oid = tgrelid join namespace on namespace.oid = relnamespace
  where not tgisinternal
  order by line`
