import { packageBuild } from '@pgq/config/tsup'

export default packageBuild()
