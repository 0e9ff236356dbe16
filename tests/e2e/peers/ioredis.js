// ioredis against the RESP door: connects as it comes, asks, pipelines, and prints what it heard as one line of JSON.
'use strict'

const Redis = require('ioredis')
const [host, port, username, password] = process.argv.slice(2)

async function main () {
  const client = new Redis({
    host, port: Number(port), username, password, connectionName: 'tests', maxRetriesPerRequest: 1, retryStrategy: null
  })
  const heard = { ping: await client.ping() }
  heard.throttle = await client.call('CL.THROTTLE', 'js', 2, 1, 1000)
  const pipeline = client.pipeline()
  for (let i = 0; i < 3; i++) pipeline.call('METE.CHECK', 'demo', 'js')
  heard.pipeline = (await pipeline.exec()).map(([error, answer]) => error ? String(error) : answer)
  heard.error = await client.call('CL.THROTTLE', 'js', -1, 1, 1).catch(error => error.message)
  heard.name = await client.client('GETNAME')
  heard.id = await client.client('ID')
  await client.quit()
  console.log(JSON.stringify(heard))
}

main().catch(error => { console.error(error); process.exit(1) })
